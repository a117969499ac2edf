"""Ablations at a size that a CPU trains in minutes."""
