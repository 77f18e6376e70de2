"""What a pipeline is made of: its graph, its image, its machines."""
