"""Decoder reporter: curves and pictures of what the layers of networks keep of images."""
