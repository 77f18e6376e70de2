"""Where pipelines run: on this machine, on Vertex AI, on Kubeflow."""
