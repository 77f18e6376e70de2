"""Reports a study of lossy compression."""
