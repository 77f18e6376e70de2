"""Taps and noise in Keras models: which call made a tensor, and how it is captured."""
