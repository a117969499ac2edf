"""What a network's features look like (Fig. 3 to 6 and B of the paper)."""
