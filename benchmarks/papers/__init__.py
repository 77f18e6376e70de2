"""The runs of published size, reduced to the small tables and the figures of docs/papers."""
