"""Decoder: trains decoders of images given a layer, and says what they know."""
