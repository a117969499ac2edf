"""Not installed: how the figures and weights of this project were made. See README.md."""
