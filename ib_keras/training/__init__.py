"""Helpers for training: batches, schedules of recorded epochs, saved states."""
