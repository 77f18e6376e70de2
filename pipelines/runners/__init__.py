"""Runners of pipelines: on this machine, on Vertex AI, and on Kubeflow."""
