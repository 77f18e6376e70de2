"""Capturer: records the hidden representations of a model at each of its checkpoints."""
