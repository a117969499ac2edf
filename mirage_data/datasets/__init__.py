"""The data sets that option files name, and the stream of samples that they are drawn by."""
