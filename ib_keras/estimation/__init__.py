"""From activations to a table: sources, cells, calibration, any two variables."""
