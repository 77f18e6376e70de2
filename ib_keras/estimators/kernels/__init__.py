"""Kernels of estimators: neighbours, pairs of rows, mixtures."""
