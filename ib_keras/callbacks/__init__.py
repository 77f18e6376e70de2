"""Keras callbacks: the recorder with its sinks, and backups of the training state."""
