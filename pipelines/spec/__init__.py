"""The specification of a compiled pipeline: its graph, container image and machines."""
