"""What is in a data set, what is wrong with it, which photos show the same, who trains on them."""
