"""Gatherer: makes one artifact of what the iterations of a loop wrote, for another loop."""
