"""Pipelines, one per file, which the command ``ib-keras`` runs, compiles or submits."""
