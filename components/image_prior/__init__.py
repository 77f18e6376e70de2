"""Image prior: trains q(x), which decoders q(x|h) are compared with."""
