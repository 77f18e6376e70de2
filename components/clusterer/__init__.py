"""Measures how the samples of a store cluster."""
