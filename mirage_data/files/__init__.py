"""Image files and what holds them. Needs numpy, OpenCV and lmdb only."""
