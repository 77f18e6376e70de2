"""Pipelines: one file each, run, compiled or submitted by the command ``ib-keras``."""
