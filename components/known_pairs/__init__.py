"""Runs estimators on pairs of images of known mutual information."""
