"""Plain arrays: checks, labels, scales, equal rows, memory."""
