"""Keras callbacks: the recorder, what it writes to, and backups of a training."""
