"""The job that Vertex AI is sent, by the real client, to a service on this machine."""

import json
import os
import subprocess
import sys

import pandas as pd
import pytest
import yaml

import ib_keras
from ib_keras.errors import ArgumentError, MissingExtraError
from ib_keras.pipelines import information_plane

aiplatform = pytest.importorskip(
    "google.cloud.aiplatform", reason="the extra vertex is not installed"
)

import fake_vertex  # noqa: E402
import grpc  # noqa: E402
from fake_vertex import OPTIONS, State, arrived, dags, submit, task  # noqa: E402
from google.api_core import exceptions as api_exceptions  # noqa: E402
from google.auth import exceptions  # noqa: E402

from ib_keras.pipelines.runners import vertex  # noqa: E402
from ib_keras.pipelines.runners.remote import JobError  # noqa: E402

PIPELINE = information_plane.information_plane
SETTINGS = {
    "models": ['{"name": "mlp", "hidden": [4]}'],
    "estimators": ["ebab"],
    "epochs": 2,
    "max_samples": 64,
}
SUCCEEDED, FAILED = State.PIPELINE_STATE_SUCCEEDED, State.PIPELINE_STATE_FAILED
RUNNING = State.PIPELINE_STATE_RUNNING


def run(settings=None, **options):
    given = {**OPTIONS, **options}
    return vertex.run(PIPELINE, settings or {}, name="information_plane", options=given)


def test_what_arrives(service):
    """What is sent runs in ``test_local.py``, where the same has run already."""
    submit(
        SETTINGS, labels=["team=ib", "cost=7"], service_account="runner@proj.iam",
        network="projects/1/global/networks/net", machines="trainer.accelerator=NVIDIA_L4",
    )  # fmt: skip
    (request,) = service.created
    assert request.parent == "projects/proj/locations/europe-west4"
    job = request.pipeline_job
    assert job.display_name == "information_plane"
    assert dict(job.labels)["team"] == "ib" and dict(job.labels)["cost"] == "7"
    assert job.service_account == "runner@proj.iam"
    assert job.network == "projects/1/global/networks/net"
    assert job.runtime_config.gcs_output_directory == "gs://bucket/root"
    spec, parameters = arrived(request)
    assert parameters == SETTINGS
    assert all(
        not task["cachingOptions"].get("enableCache")
        for dag in dags(spec)
        for task in dag["tasks"].values()
        if "cachingOptions" in task
    )
    containers = {k: e["container"] for k, e in spec["deploymentSpec"]["executors"].items()}
    assert {c["image"] for c in containers.values()} == {OPTIONS["image"]}
    assert containers["exec-trainer"]["resources"]["accelerator"]["type"] == "NVIDIA_L4"
    assert "resources" not in containers["exec-capturer"]


def test_caching_is_asked_for(service):
    assert run(enable_caching=True) == 0
    spec, _ = arrived(service.created[0])
    tasks = [task for dag in dags(spec) for task in dag["tasks"].values()]
    asked = [task["cachingOptions"]["enableCache"] for task in tasks if "cachingOptions" in task]
    assert asked and all(asked)


def test_states_are_followed_to_success(service, capsys):
    service.plan = [
        (RUNNING, [task(1, "examples", "RUNNING")]),
        (RUNNING, [task(1, "examples", "SUCCEEDED"), task(2, "trainer", "RUNNING")]),
        (RUNNING, [task(2, "trainer", "RUNNING"), task(3, "trainer", "PENDING")]),
        (SUCCEEDED, [task(2, "trainer", "SUCCEEDED"),
                     task(3, "trainer", "SKIPPED", output="gs://bucket/x")]),
    ]  # fmt: skip
    assert run(wait=True) == 0
    printed = capsys.readouterr().out
    lines = [line.split("] ")[1] for line in printed.splitlines() if line.startswith("[")]
    assert lines == [
        "examples SUCCEEDED", "trainer RUNNING", "job RUNNING",
        "trainer SUCCEEDED", "trainer CACHED", "job SUCCEEDED",
    ]  # fmt: skip
    assert "Submitted projects/proj/locations/europe-west4/pipelineJobs/information-plane-" in (
        printed
    )
    assert "ib-keras --runner=vertex --project=proj --region=europe-west4 --fetch=" in printed


def test_states_are_followed_to_failure(service, capsys):
    service.plan = [
        (RUNNING, []),
        (FAILED, [task(1, "trainer", "FAILED", message="ib-keras: the image lacks ['ib_keras']")]),
    ]
    service.error = "The DAG failed because some tasks failed."
    with pytest.raises(JobError) as failure:
        run(wait=True)
    text = str(failure.value)
    assert text.startswith("The job failed. Expected every task to succeed; logs at https://")
    assert "trainer: ib-keras: the image lacks ['ib_keras']\nThe DAG failed" in text
    assert "trainer FAILED" in capsys.readouterr().out


def test_following_ends_when_the_service_is_away_for_long(service, monkeypatch):
    service.away = 1
    assert run(wait=True) == 0  # for a while, the client itself asks again

    def state(job):
        raise api_exceptions.RetryError("Timeout of 120.0s exceeded", None)

    monkeypatch.setattr(aiplatform.PipelineJob, "state", property(state))
    with pytest.raises(JobError, match="can no longer be followed; it keeps running"):
        run(wait=True)


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        ("PERMISSION_DENIED", "Permission 'aiplatform.pipelineJobs.create' denied",
         "roles/aiplatform.user.*add-iam-policy-binding proj"),
        ("PERMISSION_DENIED", "You do not have permission to act as service_account: a@b",
         "roles/iam.serviceAccountUser on a@b: gcloud iam"),
        ("PERMISSION_DENIED", "does not have storage.objects.get access",
         "roles/storage.objectAdmin on the bucket"),
        ("PERMISSION_DENIED", "Vertex AI API has not been used in project 1 before",
         "gcloud services enable aiplatform.googleapis.com --project=proj"),
        ("PERMISSION_DENIED", "artifactregistry.repositories.downloadArtifacts denied",
         "roles/artifactregistry.reader"),
        ("UNAUTHENTICATED", "Request had invalid authentication",
         "a new login: gcloud auth application-default login"),
        ("INVALID_ARGUMENT", "No such machine type", "refuses the job.*No such machine"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_is_missing(service, status, message, expected):
    service.refusal = (grpc.StatusCode[status], message)
    with pytest.raises(JobError, match=expected):
        run(service_account="a@b")


def test_without_credentials(monkeypatch):
    def default(*args, **kwargs):
        raise exceptions.DefaultCredentialsError("Your default credentials were not found")

    monkeypatch.setattr("google.auth.default", default)
    for options in ({}, {"fetch": "job"}):
        with pytest.raises(JobError, match="Expected gcloud auth application-default login"):
            run(**options)


def test_a_bucket_that_does_not_exist_is_not_made(service, monkeypatch):
    with fake_vertex.buckets(status=404) as storage:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage)
        with pytest.raises(ArgumentError, match="gs://bucket of.*gcloud storage buckets create"):
            run()
    assert not service.created


def test_a_bucket_that_one_may_not_look_at_is_noted(service, monkeypatch, capsys):
    with fake_vertex.buckets(status=403) as storage:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", storage)
        assert run() == 0
    assert "roles/storage.objectAdmin" in capsys.readouterr().out
    assert service.created


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"project": None}, "`project` is missing. Expected .*--project"),
        ({"region": ""}, "`region` is missing"),
        (
            {"region": "atlantis"},
            "`region` is not a region of Vertex AI. Expected .*'europe-west4'.*atlantis",
        ),
        ({"pipeline_root": None}, "`pipeline_root` is missing"),
        (
            {"pipeline_root": "s3://bucket"},
            "must be a folder in a bucket. Expected gs://.*s3://bucket",
        ),
        ({"pipeline_root": "/tmp/root"}, "must be a folder in a bucket"),
        ({"image": None}, "`image` is missing. Expected .*docker build"),
        ({"image": "two words"}, "not a reference of a container image"),
        ({"labels": ["Team=x"]}, "not a label. Expected key=value in lower-case.*'Team=x'"),
        ({"labels": ["team"]}, "not a label"),
        ({"machines": "trainr.cpu=8"}, r"unknown component 'trainr'. Expected .*'trainer'"),
        ({"machines": "trainer.accelerator=H100"}, "unknown accelerator.*'NVIDIA_L4'.*H100"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ArgumentError, match=message):
        run(**{"dry_run": True, **options})


def test_files_of_this_machine_are_refused_and_those_of_buckets_mounted(tmp_path, capsys):
    with pytest.raises(ArgumentError, match="a file of this machine.*gcloud storage cp"):
        run({"data": str(tmp_path / "mine.npz")}, dry_run=True)
    with pytest.raises(ArgumentError, match="`models` is a file of this machine"):
        run({"models": [str(tmp_path / "mine.keras")]}, dry_run=True)
    checkpoints = json.dumps({"checkpoints": str(tmp_path / "*.keras")})
    with pytest.raises(ArgumentError, match="`models` is a file of this machine"):
        run({"models": [checkpoints]}, dry_run=True)
    with pytest.raises(ArgumentError, match="a folder of this machine.*storage cp -r FOLDER"):
        run({"data": str(tmp_path)}, dry_run=True)
    for name in ("t.csv", "t.csv.gz", "t.parquet"):
        with pytest.raises(ArgumentError, match="`data` is a file of this machine"):
            run({"data": str(tmp_path / name)}, dry_run=True)
    settings = {"data": "gs://b/mine.npz", "models": ["szt", "gs://b/mine.keras"]}
    run(settings, dry_run=True, output="-")
    job = yaml.safe_load(capsys.readouterr().out)["pipelineJob"]
    assert job["runtimeConfig"]["parameterValues"] == {
        "data": "/gcs/b/mine.npz",
        "models": ["szt", "/gcs/b/mine.keras"],
    }


def test_a_dry_run_needs_no_credentials_and_shows_the_job(monkeypatch, capsys):
    monkeypatch.setattr("google.auth.default", None)
    given = {"dry_run": True, "labels": ["a=b"], "service_account": "a@b"}
    assert run({"epochs": 3}, **given, output="-") == 0
    request = yaml.safe_load(capsys.readouterr().out)
    assert request["parent"] == "projects/proj/locations/europe-west4"
    job = request["pipelineJob"]
    assert job["labels"] == {"a": "b"} and job["serviceAccount"] == "a@b"
    assert job["runtimeConfig"]["parameterValues"] == {"epochs": 3}


def test_a_dry_run_is_summed_up_and_written_whole(tmp_path, capsys):
    settings = {
        "epochs": 3,
        "models": ["my_nets:build", '{"name": "pkg.nets:f", "width": 2}', "szt"],
    }
    machines = "trainer.accelerator=NVIDIA_L4,trainer.cpu=8,trainer.memory=32G"
    assert run(settings, dry_run=True, machines=machines, output=str(tmp_path / "job.yaml")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("Nothing was submitted")
    assert "  runs at:    project proj, region europe-west4" in lines
    assert "  image:      host/ib-keras-python:1" in lines
    assert any(line.startswith("  results:    gs://bucket/root;") for line in lines)
    # Three models; the number of shards of each is planned in the job.
    tasks = [line.split() for line in lines[lines.index("  tasks, in their order:") + 1 :][:7]]
    assert [" ".join(words[:5]) for words in tasks] == [
        "examples the engine's default machine", "trainer × 3 1 NVIDIA_L4,",
        "capturer × 3 the engine's", "planner × 3 the engine's", "estimator × 3 × shards",
        "reporter × 3 the engine's", "reporter-2 the engine's default machine",
    ]  # fmt: skip
    assert " ".join(tasks[1][3:]) == "1 NVIDIA_L4, 8 CPUs, 32G memory"
    given = "\n".join(lines[lines.index("  parameters given:") + 1 :])
    assert given.startswith("    epochs=3\n    models=[")
    for module in ("my_nets", "pkg.nets"):
        assert f"The image must hold the module '{module}'" in given
    request = yaml.safe_load((tmp_path / "job.yaml").read_text())
    assert request["pipelineJob"]["runtimeConfig"]["parameterValues"] == settings
    assert f"{len((tmp_path / 'job.yaml').read_text().splitlines())} lines" in lines[-1]
    # Without a file, the summary alone: a screen, not 850 lines.
    assert run(settings, dry_run=True) == 0
    text = capsys.readouterr().out
    assert len(text.splitlines()) == len(lines) <= 25 and "--output=FILE" in text
    with pytest.raises(ArgumentError, match="`output` is not a file"):
        run(dry_run=True, output=str(tmp_path / "nowhere" / "job.yaml"))


def test_a_submission_says_what_the_image_must_hold(service, capsys):
    assert run({"models": ["my_nets:build"]}) == 0
    assert "Note: The image must hold the module 'my_nets'" in capsys.readouterr().out


@pytest.fixture
def estimates(tmp_path):
    """A run's folder in a bucket in memory."""
    fsspec = pytest.importorskip("fsspec")
    from make_frame import make_frame

    ib_keras.frame.write(make_frame(flags="no_noise"), tmp_path / "estimates")
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "estimates"), "/vertex/output", recursive=True)
    yield "memory://vertex/output"
    memory.rm("/vertex", recursive=True)


def test_fetch(service, estimates, tmp_path, capsys):
    assert run() == 0
    job = service.created[0].pipeline_job_id
    service.plan = [
        (SUCCEEDED, [task(1, "reporter", "SUCCEEDED", output="memory://vertex/none"),
                     task(2, "reporter-2", "SUCCEEDED", output=estimates, page="memory://x")])
    ]  # fmt: skip
    table = vertex.fetch(job, project="proj", region="europe-west4")
    pd.testing.assert_frame_equal(table, ib_keras.load(estimates))
    assert run(fetch=job, run_dir=str(tmp_path / "fetched")) == 0
    printed = capsys.readouterr().out
    assert f"Last epoch (nats):\n{ib_keras.report.last_epoch_text(table)}\n" in printed
    assert "⚑ " in printed and "no_noise" in printed
    pd.testing.assert_frame_equal(ib_keras.load(tmp_path / "fetched"), table)


def test_fetch_of_a_job_that_is_not_there_or_not_done(service):
    with pytest.raises(JobError, match="does not know.*project=proj and region=europe-west4"):
        run(fetch="no-such-job")
    assert run() == 0
    service.plan = [(RUNNING, [])]
    with pytest.raises(JobError, match="no estimates yet. Expected .* succeeded. Received: RUNN"):
        run(fetch=service.created[0].pipeline_job_id)


def test_without_the_library(monkeypatch):
    monkeypatch.setitem(sys.modules, "google.cloud.aiplatform", None)
    monkeypatch.delattr("google.cloud.aiplatform")
    with pytest.raises(MissingExtraError, match=r"'ib-keras\[vertex\]'"):
        run()


def test_no_module_of_google_is_imported_before_it_is_needed():
    code = (
        "import sys, ib_keras.pipelines.runners.vertex, ib_keras.pipelines.runners.kubeflow;"
        "sys.exit('google.cloud.aiplatform' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], env=os.environ).returncode == 0
