"""Reports a study of activation functions."""
