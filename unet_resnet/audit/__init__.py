"""What is wrong with a data set, which photos show the same thing, and who sits on which side."""
