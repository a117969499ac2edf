"""The data sets of the paper on the disk: the table of them, preparing, checking and making them."""
