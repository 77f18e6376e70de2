"""Gatherer: combines the artifacts of a loop's iterations into one, for use in another loop."""
