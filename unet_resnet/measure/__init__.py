"""Length and width of each crack, as tables and as a picture."""
