"""The model, and what a training run adds to BasicSR's loop."""
