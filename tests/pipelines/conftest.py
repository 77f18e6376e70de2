import pytest


@pytest.fixture
def service(monkeypatch):
    """The service, and the client's endpoint pointed at it under anonymous credentials."""
    aiplatform = pytest.importorskip(
        "google.cloud.aiplatform", reason="the extra vertex is not installed"
    )
    import fake_vertex
    import grpc
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.aiplatform import initializer
    from google.cloud.aiplatform.utils import gcs_utils
    from google.cloud.aiplatform_v1.services.pipeline_service.transports import (
        PipelineServiceGrpcTransport,
    )

    from ib_keras.pipelines.runners import vertex

    fake = fake_vertex.FakeVertex()

    def channel(host, **_):
        return grpc.insecure_channel(host, options=[("grpc.enable_http_proxy", 0)])

    with fake.serving() as port, fake_vertex.buckets() as storage:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage)
        monkeypatch.setattr(PipelineServiceGrpcTransport, "create_channel", channel)
        # It would ask the project's number of one more service, for most of a minute.
        monkeypatch.setattr(gcs_utils, "_verify_bucket_ownership", lambda *_: True)
        monkeypatch.setattr(vertex, "POLL_SECONDS", 0.001)
        # Of another project, which must not be taken; without one, gRPC would not be, either.
        aiplatform.init(
            project="other",
            location="us-central1",
            credentials=AnonymousCredentials(),
            api_endpoint=f"127.0.0.1:{port}",
        )
        yield fake
        initializer.global_config.__init__()
