"""Estimator: estimates the information of every layer and epoch."""
