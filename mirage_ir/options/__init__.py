"""Option files: what stands in them, and what is checked before anything runs."""
