"""Decoder: trains decoders of images given a layer, and estimates from their likelihoods."""
