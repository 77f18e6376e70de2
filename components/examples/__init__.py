"""Examples: a data set, by name or from a file, split and written for the other components."""
