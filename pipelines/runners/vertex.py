"""Submits a pipeline to Vertex AI Pipelines, follows it, and fetches its estimates."""

from __future__ import annotations

import contextlib
import logging
import pathlib
import re
import time
from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

import ib_keras
from ib_keras import frame
from ib_keras.errors import ArgumentError, IbKerasError, MissingExtraError, StoreError
from ib_keras.pipelines import places
from ib_keras.pipelines.runners import dry_run, remote
from ib_keras.pipelines.runners.remote import JobError

POLL_SECONDS = 20.0
_MOUNT = "/gcs/"
_LIBRARY = "google.cloud.aiplatform"
_ROOT = re.compile(r"gs://[a-z0-9][a-z0-9._-]{1,220}[a-z0-9](/.*)?")
_LOGIN = "gcloud auth application-default login"
_DONE = ("SUCCEEDED", "FAILED", "CANCELLED")


def run(
    pipeline: Any, settings: Mapping[str, Any], *, name: str, options: Mapping[str, Any]
) -> int:
    """Submit a pipeline as a job of Vertex AI Pipelines, or fetch the estimates of a job.

    Settings of an earlier ``aiplatform.init`` (credentials, endpoint) are used.

    Args:
        pipeline: a function decorated by ``kfp.dsl.pipeline``.
        settings: the arguments of the pipeline; ``gs://`` paths are read where Vertex AI mounts
            them.
        name: display name of the job.
        options: ``project``, ``region``, ``pipeline_root``, ``image``, ``service_account``,
            ``network``, ``enable_caching``, ``labels`` and ``machines``. ``wait`` follows the job;
            ``dry_run`` prints a summary, without credentials (``output``: a file for the whole
            request, or ``"-"`` to print it); ``fetch`` prints the estimates of a finished job and
            writes them to ``run_dir``.

    Returns:
        0, the exit status of the command.

    Raises:
        ArgumentError: If an option is invalid.
        JobError: If the job was not accepted, or failed.
        MissingExtraError: If google-cloud-aiplatform is not installed.
    """
    if options.get("fetch"):
        return _show(options)
    _project(options)
    root = _pipeline_root(options)
    labels = remote.labels(options.get("labels"))
    dry_run.check_output(options.get("output"))
    aiplatform = _aiplatform(options)
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.aiplatform_v1 import AcceleratorType

    spec = remote.specification(pipeline, options, list(AcceleratorType.__members__)[1:])
    values = remote.arguments(settings, _MOUNT)
    with remote.written(spec) as path, _explained(options):
        job = aiplatform.PipelineJob(
            display_name=name,
            template_path=path,
            pipeline_root=root,
            parameter_values=values,
            enable_caching=options.get("enable_caching"),
            labels=labels or None,
            project=options["project"],
            location=options["region"],
            credentials=AnonymousCredentials() if options.get("dry_run") else None,
        )
    if options.get("dry_run"):
        about = {
            "job": name,
            "runs at": f"project {options['project']}, region {options['region']}",
            "results": f"{root}; to fetch: ib-keras {_again(options)} --fetch=JOB",
        }
        dry_run.show(_request(job, options), spec, settings, about, options.get("output"))
        return 0
    _check_bucket(root, options)
    for hint in dry_run.hints(settings):
        print(f"Note: {hint}")
    with _explained(options), _quiet():
        job.submit(
            service_account=options.get("service_account") or None,
            network=options.get("network") or None,
        )
    print(f"Submitted {job.resource_name}\nSee {_page(job.job_id, options)}", flush=True)
    if options.get("wait"):
        _follow(job, options)
    print(f"To fetch the estimates of the job: ib-keras {_again(options)} --fetch={job.job_id}")
    return 0


def _again(options: Mapping[str, Any]) -> str:
    """Return the flags that select the same project and region."""
    return f"--runner=vertex --project={options['project']} --region={options['region']}"


def fetch(job: str, *, project: str, region: str) -> pd.DataFrame:
    """Return the estimates of a finished job.

    Args:
        job: ID or full name of the job.
        project: project of the job.
        region: region of the job.

    Returns:
        The table, as returned by ``ib_keras.load``.

    Raises:
        JobError: If the job does not exist, or has not succeeded.
        StoreError: If its results cannot be read.
        MissingExtraError: If google-cloud-aiplatform or gcsfs is not installed.
    """
    options = {"project": project, "region": region}
    aiplatform = _aiplatform(options)
    with _explained(options), _quiet():
        finished = aiplatform.PipelineJob.get(job, project=project, location=region)
        state, details = _state(finished.state), finished.task_details
        spec = finished.to_dict()["pipelineSpec"]
    if state != "SUCCEEDED":
        raise JobError(f"The job {job!r} has no estimates yet", "a job that has succeeded", state)
    return ib_keras.load(_result(spec, details))


def _result(spec: Mapping[str, Any], details: list[Any]) -> str:
    """Return the URI of the pipeline's output."""
    outputs = spec["root"]["dag"].get("outputs", {}).get("artifacts", {})
    for output in outputs.values():
        for selector in output["artifactSelectors"]:
            for task in details:
                artifacts = task.outputs.get(selector["outputArtifactKey"])
                if task.task_name == selector["producerSubtask"] and artifacts is not None:
                    return artifacts.artifacts[0].uri
    raise StoreError(
        "The job has no table of estimates",
        "a job of one of the pipelines of ib_keras",
        sorted({task.task_name for task in details}),
    )


def _show(options: Mapping[str, Any]) -> int:
    """Print the estimates of a finished job, and write them to a folder."""
    _project(options)
    job = options["fetch"]
    folder = pathlib.Path(options.get("run_dir") or pathlib.Path("runs", job.rpartition("/")[2]))
    places.check_folder(folder)
    table = fetch(job, project=options["project"], region=options["region"])
    estimates = frame.columns(table)
    logs = table[["run", "epoch", *(c for c in table.columns if c not in estimates)]]
    frame.write(table, folder, logs=logs.drop_duplicates(["run", "epoch"]))
    print(f"Last epoch (nats):\n{ib_keras.report.last_epoch_text(table)}")
    print(f"\nAll {len(table)} estimates: {folder.resolve()}")
    return 0


def _follow(job: Any, options: Mapping[str, Any]) -> None:
    """Print the states of the job and its tasks until it has ended."""
    from google.api_core import exceptions

    progress = remote.Progress()
    while True:
        try:
            with _explained(options, but=(exceptions.ServerError, exceptions.RetryError)):
                state, details = _state(job.state), job.task_details
        except (exceptions.ServerError, exceptions.RetryError) as error:
            # The client has retried for two minutes.
            raise JobError(
                "The job can no longer be followed; it keeps running",
                f"a response of Vertex AI; see {_page(job.job_id, options)}",
                error,
            ) from None
        for task in details:
            if task.state.name != "STATE_UNSPECIFIED":
                cached = task.state.name == "SKIPPED" and task.outputs
                shown = "CACHED" if cached else task.state.name
                progress.show(task.task_id, task.task_name, shown)
        progress.show(None, "job", state)
        if state in _DONE:
            break
        time.sleep(POLL_SECONDS)
    if state != "SUCCEEDED":
        errors = [f"{t.task_name}: {t.error.message}" for t in details if t.state.name == "FAILED"]
        errors.append(job.to_dict().get("error", {}).get("message", ""))
        raise JobError(
            f"The job {state.lower()}",
            f"every task to succeed; logs at {_page(job.job_id, options)}",
            "\n".join(dict.fromkeys(errors)).strip() or state,
        )


def _state(state: Any) -> str:
    return state.name.removeprefix("PIPELINE_STATE_")


def _request(job: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the request that would be sent."""
    more = {"serviceAccount": options.get("service_account"), "network": options.get("network")}
    return {
        "parent": f"projects/{options['project']}/locations/{options['region']}",
        "pipelineJobId": job.job_id,
        "pipelineJob": {**job.to_dict(), **{key: value for key, value in more.items() if value}},
    }


def _page(job: str, options: Mapping[str, Any]) -> str:
    """Return the page of a job in the Google Cloud console."""
    return (
        f"https://console.cloud.google.com/vertex-ai/pipelines/locations/{options['region']}"
        f"/runs/{job}?project={options['project']}"
    )


def _project(options: Mapping[str, Any]) -> None:
    """Check that project and region are given."""
    remote.required(options, "project", "the project's id: --project=my-project")
    remote.required(options, "region", "a region of Vertex AI: --region=europe-west4")


def _pipeline_root(options: Mapping[str, Any]) -> str:
    root = remote.required(options, "pipeline_root", "--pipeline_root=gs://BUCKET/FOLDER")
    if not _ROOT.fullmatch(root):
        raise ArgumentError(
            "`pipeline_root` must be a folder in a bucket", "gs://BUCKET/FOLDER", repr(root)
        )
    return root


def _aiplatform(options: Mapping[str, Any]) -> Any:
    try:
        from google.cloud import aiplatform
    except ImportError as error:
        raise MissingExtraError.of(
            "--runner=vertex", "google-cloud-aiplatform", "vertex"
        ) from error
    regions = sorted(aiplatform.constants.base.SUPPORTED_REGIONS)
    if options["region"] not in regions:
        raise ArgumentError(
            "`region` is not a region of Vertex AI", f"one of {regions}", options["region"]
        )
    return aiplatform


def _check_bucket(root: str, options: Mapping[str, Any]) -> None:
    """Check that the bucket exists, because the client would create it without notice.

    The submitting user may lack access to the bucket; only the job's account needs it.
    """
    from google.api_core import exceptions
    from google.cloud import aiplatform, storage

    bucket = root.removeprefix("gs://").partition("/")[0]
    with _explained(options, but=(exceptions.Forbidden,)):
        client = storage.Client(
            project=options["project"], credentials=aiplatform.initializer.global_config.credentials
        )
        try:
            exists = client.bucket(bucket).exists()
        except exceptions.Forbidden:
            print(
                f"Note: you have no access to gs://{bucket}. The job's account needs "
                "roles/storage.objectAdmin on it. You need the same role to fetch the estimates."
            )
            return
    if not exists:
        raise ArgumentError(
            f"The bucket gs://{bucket} of `pipeline_root` does not exist",
            "an existing bucket: gcloud storage buckets create "
            f"gs://{bucket} --project={options['project']} --location={options['region']}",
            root,
        )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the client's log messages: progress is printed here, and failures are raised."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith(_LIBRARY)]
    levels = {name: logging.getLogger(name).level for name in names}
    try:
        for name in names:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)


@contextlib.contextmanager
def _explained(options: Mapping[str, Any], but: tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Turn the errors of Google's libraries into errors that say what to do."""
    import requests
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth

    try:
        yield
    except but:
        raise
    except IbKerasError:
        raise
    except auth.DefaultCredentialsError as error:
        raise JobError("There are no credentials for Google Cloud", _LOGIN, error) from None
    except (auth.RefreshError, api.Unauthenticated) as error:
        raise JobError(
            "The credentials for Google Cloud are not accepted", f"a new login: {_LOGIN}", error
        ) from None
    except (auth.TransportError, requests.exceptions.ConnectionError) as error:
        raise JobError("Google Cloud cannot be reached", "a connection to it", error) from None
    except api.Forbidden as error:
        raise JobError("A permission is missing", _role(str(error), options), error) from None
    except api.NotFound as error:
        raise JobError(
            "Vertex AI does not know the job, project or region",
            f"existing ones; these were project={options['project']} and "
            f"region={options['region']}",
            error,
        ) from None
    except api.InvalidArgument as error:
        raise JobError("Vertex AI refuses the job", "a valid job", error) from None
    except (api.GoogleAPICallError, api.RetryError) as error:
        raise JobError("Vertex AI does not answer", "a response", error) from None
    except ValueError as error:
        raise ArgumentError("An option is invalid", "a value for Vertex AI", error) from None


def _role(message: str, options: Mapping[str, Any]) -> str:
    """Return the role or command that grants the permission that a refusal's message names."""
    project = options["project"]
    give = f"gcloud projects add-iam-policy-binding {project} --member=user:YOU --role="
    if "SERVICE_DISABLED" in message or "has not been used" in message:
        enable = f"gcloud services enable aiplatform.googleapis.com --project={project}"
        return f"the API to be enabled: {enable}"
    if "actAs" in message or "act as" in message:
        account = options.get("service_account") or "the service account of the job"
        return (
            f"you to have roles/iam.serviceAccountUser on {account}: gcloud iam service-accounts "
            f"add-iam-policy-binding {account} --member=user:YOU "
            "--role=roles/iam.serviceAccountUser"
        )
    if "storage." in message:
        return (
            "roles/storage.objectAdmin on the bucket of `pipeline_root`, for you and for the "
            "job's account: gcloud storage buckets add-iam-policy-binding "
            "gs://BUCKET --member=MEMBER --role=roles/storage.objectAdmin"
        )
    if "artifactregistry." in message:
        return (
            "roles/artifactregistry.reader on the image's repository, for the job's account and "
            "for the service agents of Vertex AI"
        )
    if "compute." in message:
        return f"you to have roles/compute.networkUser: {give}roles/compute.networkUser"
    return f"you to have roles/aiplatform.user: {give}roles/aiplatform.user"
