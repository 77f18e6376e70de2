"""Image prior: trains the unconditional decoder q(x), the baseline of decoders q(x|h)."""
