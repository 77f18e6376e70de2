"""Reports a study of noisy networks."""
