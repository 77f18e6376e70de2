"""Runs that a Kubeflow Pipelines server is sent, by kfp's own client, on this machine."""

import contextlib
import http.server
import json
import threading

import pytest
import yaml

from ib_keras.errors import ArgumentError
from ib_keras.pipelines import information_plane
from ib_keras.pipelines.runners import kubeflow
from ib_keras.pipelines.runners.remote import JobError

PIPELINE = information_plane.information_plane
API = "/apis/v2beta1"
SETTINGS = {"models": ["szt"], "epochs": 3, "learning_rate": 0.01}


class FakeKubeflow:
    """Takes runs, and walks them through the states of ``plan``, one a question."""

    def __init__(self):
        self.runs, self.experiments, self.plan = [], [], [{"state": "SUCCEEDED"}]
        self.status, self.kind = 200, "application/json"

    def answer(self, method, path, body):
        path = path.partition("?")[0]
        if path == f"{API}/healthz":
            return {"multi_user": False}
        if path == f"{API}/experiments" and method == "GET":
            return {"experiments": []}
        if path == f"{API}/experiments":
            self.experiments.append(body)
            return {"experiment_id": "e1", **body}
        if path == f"{API}/runs":
            self.runs.append(body)
            return {"run_id": "r1", **body}
        if path == f"{API}/runs/r1":
            state = self.plan.pop(0) if len(self.plan) > 1 else self.plan[0]
            return {"run_id": "r1", **state}
        raise KeyError(f"{method} {path}")

    @contextlib.contextmanager
    def serving(self):
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do(self):
                size = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(size)) if size else None
                text = json.dumps(fake.answer(self.command, self.path, body))
                health = self.path.startswith(f"{API}/healthz")
                self.send_response(200 if health else fake.status)
                self.send_header("Content-Type", fake.kind)
                self.end_headers()
                self.wfile.write(text.encode())

            do_GET = do_POST = do

            def log_message(self, *args):
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        server.server_close()


@pytest.fixture
def server(monkeypatch):
    fake = FakeKubeflow()
    monkeypatch.setattr(kubeflow, "POLL_SECONDS", 0.001)
    with fake.serving() as fake.host:
        yield fake


def run(settings=None, **options):
    given = {"image": "host/ib:1", "enable_caching": True, **options}
    return kubeflow.run(PIPELINE, settings or {}, name="information_plane", options=given)


def test_the_run_arrives(server, capsys):
    assert run(
        SETTINGS, host=server.host + "/", pipeline_root="minio://root", service_account="worker",
        machines="trainer.accelerator=nvidia.com/gpu,trainer.count=2", enable_caching=False,
    ) == 0  # fmt: skip
    (sent,) = server.runs
    assert server.experiments[0]["display_name"] == "information_plane"
    assert sent["service_account"] == "worker"
    assert sent["runtime_config"]["parameters"] == SETTINGS
    assert sent["runtime_config"]["pipeline_root"] == "minio://root"
    spec = sent["pipeline_spec"].get("pipeline_spec", sent["pipeline_spec"])
    trainer = spec["deploymentSpec"]["executors"]["exec-trainer"]["container"]
    assert trainer["image"] == "host/ib:1"
    accelerator = trainer["resources"]["accelerator"]
    assert accelerator["resourceType"] == "nvidia.com/gpu"
    assert accelerator["resourceCount"] == "2"
    assert spec["root"]["dag"]["tasks"]["examples"]["cachingOptions"] == {}
    assert "Submitted run r1" in capsys.readouterr().out


def test_states_are_followed_to_success(server, capsys):
    detail = {"task_id": "t1", "display_name": "trainer"}
    server.plan = [
        {"state": "RUNNING", "run_details": {"task_details": [{**detail, "state": "RUNNING"}]}},
        {"state": "SUCCEEDED", "run_details": {"task_details": [{**detail, "state": "SKIPPED"}]}},
    ]
    assert run(host=server.host, wait=True) == 0
    printed = capsys.readouterr().out
    lines = [line.split("] ")[1] for line in printed.splitlines() if line.startswith("[")]
    assert lines == ["trainer RUNNING", "run RUNNING", "trainer SKIPPED", "run SUCCEEDED"]


def test_states_are_followed_to_failure(server):
    detail = {"task_id": "t1", "display_name": "trainer", "state": "FAILED"}
    detail["error"] = {"code": 13, "message": "lacks ['ib_keras']"}
    server.plan = [{"state": "FAILED", "run_details": {"task_details": [detail]}}]
    with pytest.raises(JobError, match=r"The run failed.*runs/details/r1. .*trainer: lacks"):
        run(host=server.host, wait=True)


def test_a_refusal(server):
    server.status = 403
    with pytest.raises(JobError, match=r"refuses the request. Expected .*kubeflow-edit.*403"):
        run(host=server.host)


def test_a_server_that_wants_a_login(server):
    server.kind = "text/html"
    with pytest.raises(JobError, match="requires a login. Expected .* token.*KF_PIPELINES"):
        run(host=server.host)


def test_no_server():
    with pytest.raises(JobError, match="does not answer. Expected .*kubectl port-forward"):
        run(host="http://127.0.0.1:9")


def test_a_dry_run_asks_no_server(capsys):
    settings = {**SETTINGS, "models": ["my_nets:build"]}
    assert run(settings, host="http://127.0.0.1:9", dry_run=True) == 0
    text = capsys.readouterr().out
    for part in ("runs at:    http://127.0.0.1:9", "models=[\"my_nets:build\"]",
                 "must hold the module 'my_nets'", "--output=FILE"):  # fmt: skip
        assert part in text
    assert len(text.splitlines()) < 25
    assert run(SETTINGS, host="http://127.0.0.1:9", dry_run=True, output="-") == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert shown["arguments"] == SETTINGS
    assert shown["pipelineSpec"]["pipelineInfo"]["name"] == "information-plane"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "`host` is missing. Expected .*--host=http"),
        ({"host": "localhost:8888"}, "`host` is not an address. Expected http://"),
        ({"host": "http://h", "labels": ["a=b"], "fetch": "j"}, r"vertex. .*\['labels', 'fetch'\]"),
        ({"host": "http://h", "image": None}, "`image` is missing"),
        ({"host": "http://h", "machines": "x.cpu=1"}, "unknown component 'x'"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ArgumentError, match=message):
        run(**options)


def test_files_of_this_machine_are_refused(tmp_path):
    with pytest.raises(ArgumentError, match="a file of this machine"):
        run({"data": str(tmp_path / "mine.npz")}, host="http://h", dry_run=True)
    with pytest.raises(ArgumentError, match="a file in a bucket, which.* Expected a path in the"):
        run({"data": "gs://b/mine.npz"}, host="http://h", dry_run=True)
