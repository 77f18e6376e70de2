"""Trainer: trains a Keras model and keeps checkpoints over its training."""
