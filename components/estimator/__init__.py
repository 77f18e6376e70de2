"""Estimator: the information of every layer and epoch, by one estimator."""
