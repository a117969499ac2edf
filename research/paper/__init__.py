"""The option files of the paper's experiments, from one description."""
