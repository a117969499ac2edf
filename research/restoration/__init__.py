"""Measuring restoration against classical methods, and the weights in the package."""
