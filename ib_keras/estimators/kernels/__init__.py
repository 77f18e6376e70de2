"""Numerical kernels of the estimators: neighbours, pairs of rows and mixtures."""
