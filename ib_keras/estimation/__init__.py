"""Estimation of information from activations, calibration, and estimates of any two variables."""
