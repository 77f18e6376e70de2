"""Ensembler: trains many small networks side by side, and estimates."""
