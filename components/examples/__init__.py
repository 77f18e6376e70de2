"""Examples: loads a data set by name or from a file, splits it, and writes its arrays."""
