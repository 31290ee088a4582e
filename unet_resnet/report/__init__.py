"""One HTML page to look through."""
