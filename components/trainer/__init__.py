"""Trainer: trains a Keras model and saves checkpoints."""
