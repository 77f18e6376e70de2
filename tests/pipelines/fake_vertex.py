"""A Vertex AI pipeline service on this machine: gRPC for the jobs, HTTP for the buckets."""

import concurrent.futures
import contextlib
import http.server
import json
import threading

import grpc
import pytest
from absl import flags
from absl.testing import flagsaver
from google.cloud import aiplatform_v1 as v1
from google.protobuf import json_format

from ib_keras.pipelines import cli

State = v1.PipelineState
TaskState = v1.PipelineTaskDetail.State
_SERVICE = "google.cloud.aiplatform.v1.PipelineService"
OPTIONS = {
    "project": "proj",
    "region": "europe-west4",
    "pipeline_root": "gs://bucket/root",
    "image": "host/ib-keras-python:1",
}


def submit(settings, **options):
    """Submits the information plane from the command line."""
    texts = [
        f"{key}={value[0] if isinstance(value, list) else value}" for key, value in settings.items()
    ]
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()

    def check_here(settings, remote=False):
        cli.check_arguments(flags.FLAGS.pipeline, flags.FLAGS.preset, settings, remote)

    with (
        pytest.MonkeyPatch.context() as patch,
        flagsaver.flagsaver(runner="vertex", set=texts, enable_caching=False, **OPTIONS, **options),
    ):
        # `test_cli.py` has it in a process of its own, which is to import TensorFlow each time.
        patch.setattr(cli, "_check_in_subprocess", check_here)
        assert cli.run(["ib-keras"]) == 0


def arrived(request):
    """The pipeline and the parameters of a request; every number arrives as a double."""
    job = json_format.MessageToDict(request.pipeline_job._pb)
    return job["pipelineSpec"], job["runtimeConfig"].get("parameterValues")


def dags(spec):
    return [spec["root"]["dag"], *(c["dag"] for c in spec["components"].values() if "dag" in c)]


class FakeVertex:
    """Takes jobs, and walks them through the states of ``plan``, one a question.

    ``plan`` has pairs of the job's state and its tasks' details; the last one stays.
    ``refusal``, a pair of status and message, answers every request; for ``away`` questions after
    a job it has no answer.
    """

    def __init__(self):
        self.created, self.jobs, self.plan = [], {}, [(State.PIPELINE_STATE_SUCCEEDED, [])]
        self.refusal, self.away, self.error = None, 0, None

    def create(self, request, context):
        self._refuse(context)
        self.created.append(request)
        job = v1.PipelineJob(request.pipeline_job)
        job.name = f"{request.parent}/pipelineJobs/{request.pipeline_job_id}"
        job.state = State.PIPELINE_STATE_PENDING
        self.jobs[job.name] = job
        return job

    def get(self, request, context):
        self._refuse(context)
        if self.away:
            self.away -= 1
            context.abort(grpc.StatusCode.INTERNAL, "away")
        if request.name not in self.jobs:
            context.abort(grpc.StatusCode.NOT_FOUND, f"{request.name} is not found")
        job = self.jobs[request.name]
        state, details = self.plan.pop(0) if len(self.plan) > 1 else self.plan[0]
        job.state, job.job_detail = state, v1.PipelineJobDetail(task_details=details)
        if self.error and state == State.PIPELINE_STATE_FAILED:
            job.error = {"code": 9, "message": self.error}
        return job

    def _refuse(self, context):
        if self.refusal:
            context.abort(*self.refusal)

    @contextlib.contextmanager
    def serving(self):
        """Yields the port."""
        server = grpc.server(concurrent.futures.ThreadPoolExecutor(2))
        methods = {
            "CreatePipelineJob": grpc.unary_unary_rpc_method_handler(
                self.create,
                request_deserializer=v1.CreatePipelineJobRequest.deserialize,
                response_serializer=v1.PipelineJob.serialize,
            ),
            "GetPipelineJob": grpc.unary_unary_rpc_method_handler(
                self.get,
                request_deserializer=v1.GetPipelineJobRequest.deserialize,
                response_serializer=v1.PipelineJob.serialize,
            ),
        }
        handler = grpc.method_handlers_generic_handler(_SERVICE, methods)
        server.add_generic_rpc_handlers((handler,))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield port
        server.stop(None)


@contextlib.contextmanager
def buckets(status=200):
    """A Cloud Storage that answers every question after a bucket with the status; its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = {"name": "bucket"} if status == 200 else {"error": {"message": "storage."}}
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *args):
            pass

    with serving(Handler) as address:
        yield address


@contextlib.contextmanager
def serving(handler):
    """An HTTP server's address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def task(number, name, state, *, message="", **outputs):
    """A task's detail; ``outputs`` are the artifacts' addresses."""
    return v1.PipelineTaskDetail(
        task_id=number,
        task_name=name,
        state=TaskState[state],
        error={"code": 13, "message": message} if message else None,
        outputs={
            key: v1.PipelineTaskDetail.ArtifactList(artifacts=[v1.Artifact(uri=uri)])
            for key, uri in outputs.items()
        },
    )
