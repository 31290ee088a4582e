"""What a program draws: pavement for the first run, confusers, light and weather."""
