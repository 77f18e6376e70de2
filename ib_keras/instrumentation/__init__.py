"""Taps and noise in Keras models."""
