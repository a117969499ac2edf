"""What channel ratios searches came to."""
