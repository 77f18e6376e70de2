"""Helpers for plain arrays: checks, labels, scales, equal rows and memory."""
