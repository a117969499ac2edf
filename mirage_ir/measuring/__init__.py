"""Metrics, costs, and the tables and curves that are made of them."""
