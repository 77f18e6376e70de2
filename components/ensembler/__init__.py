"""Trains many small networks at once, and estimates."""
