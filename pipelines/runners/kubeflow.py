"""Submits a pipeline to a Kubeflow Pipelines server, and follows it."""

from __future__ import annotations

import contextlib
import os
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from ib_keras.errors import ArgumentError
from ib_keras.pipelines.runners import dry_run, remote
from ib_keras.pipelines.runners.remote import JobError

POLL_SECONDS = 10.0
_HEALTH = "/apis/v2beta1/healthz"
_DONE = ("SUCCEEDED", "FAILED", "CANCELED", "SKIPPED")
# kfp's own variable, which has the path of a token's file.
_TOKEN_VARIABLE = "KF_PIPELINES_SA_TOKEN_PATH"  # nosec B105
_VERTEX_ONLY = ("project", "region", "network", "labels", "fetch")


def run(
    pipeline: Any, settings: Mapping[str, Any], *, name: str, options: Mapping[str, Any]
) -> int:
    """Submit a pipeline as a run of a Kubeflow Pipelines server.

    Args:
        pipeline: a function decorated by ``kfp.dsl.pipeline``.
        settings: the arguments of the pipeline.
        name: name of the pipeline, and of its experiment on the server.
        options: ``host``, ``image``, ``pipeline_root``, ``service_account``, ``enable_caching`` and
            ``machines``. ``wait`` follows the run; ``dry_run`` prints a summary instead of
            submitting (``output``: a file for the whole request, or ``"-"`` to print it).

    Returns:
        0, the exit status of the command.

    Raises:
        ArgumentError: If an option is invalid, or applies to Vertex AI only.
        JobError: If the server does not answer, does not accept the run, or the run failed.
    """
    foreign = [option for option in _VERTEX_ONLY if options.get(option)]
    if foreign:
        raise ArgumentError(
            "Some options do not apply to Kubeflow Pipelines",
            "no options of --runner=vertex",
            foreign,
        )
    host = remote.required(
        options, "host", "the server's address: --host=http://localhost:8888"
    ).rstrip("/")
    if not host.startswith(("http://", "https://")):
        raise ArgumentError("`host` is not an address", "http://… or https://…", repr(host))
    dry_run.check_output(options.get("output"))
    spec = remote.specification(pipeline, options)
    root = options.get("pipeline_root") or None
    request = {
        "arguments": remote.arguments(settings),
        "experiment_name": name,
        "pipeline_root": root,
        "enable_caching": options.get("enable_caching"),
        "service_account": options.get("service_account") or None,
    }
    if options.get("dry_run"):
        sent = {key: value for key, value in request.items() if value not in (None, {})}
        results = root or "the server's artifact store"
        about = {"run": name, "runs at": host, "results": results}
        shown = {"host": host, **sent, "pipelineSpec": spec}
        dry_run.show(shown, spec, settings, about, options.get("output"))
        return 0
    for hint in dry_run.hints(settings):
        print(f"Note: {hint}")
    client = _client(host)
    with remote.written(spec) as path, _explained(host):
        started = client.create_run_from_pipeline_package(
            path, run_name=f"{name} {time.strftime('%Y-%m-%d %H:%M:%S')}", **request
        )
    print(f"Submitted run {started.run_id}", flush=True)
    if options.get("wait"):
        _follow(client, started.run_id, host)
    return 0


def _client(host: str) -> Any:
    """Return the client of a server, after a check: the client would retry for half a minute."""
    import kfp

    credentials = None
    if os.environ.get(_TOKEN_VARIABLE):
        credentials = kfp.client.ServiceAccountTokenVolumeCredentials()
    try:
        with urllib.request.urlopen(host + _HEALTH, timeout=10) as response:  # nosec B310
            content_type = response.headers.get("Content-Type", "")
    except urllib.error.HTTPError as error:
        if error.code not in (401, 403):
            raise JobError(
                f"{host} is not a Kubeflow Pipelines server", f"a response at {_HEALTH}", error
            ) from None
        content_type = "login"
    except (OSError, ValueError) as error:
        raise JobError(
            f"The server {host} does not answer",
            "a running server; to reach one in a cluster: kubectl port-forward -n kubeflow "
            "svc/ml-pipeline 8888:8888, then --host=http://localhost:8888",
            error,
        ) from None
    if "json" not in content_type and credentials is None:
        raise JobError(
            f"The server {host} requires a login",
            f"the path of a token's file in the environment variable {_TOKEN_VARIABLE}",
            content_type,
        )
    with _explained(host), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return kfp.Client(host=host, credentials=credentials)


def _follow(client: Any, run: str, host: str) -> None:
    """Print the states of the run and its tasks until it has ended."""
    progress = remote.Progress()
    while True:
        with _explained(host):
            current = client.get_run(run)
        tasks = (current.run_details and current.run_details.task_details) or []
        for task in tasks:
            if task.state:
                progress.show(task.task_id, task.display_name or "task", task.state)
        if current.state:
            progress.show(None, "run", current.state)
        if current.state in _DONE:
            break
        time.sleep(POLL_SECONDS)
    if current.state != "SUCCEEDED":
        errors = [
            f"{task.display_name}: {task.error.message if task.error else 'no message'}"
            for task in tasks
            if task.state == "FAILED"
        ]
        errors.append((current.error and current.error.message) or "")
        raise JobError(
            f"The run {current.state.lower()}",
            f"every task to succeed; logs at {host}/#/runs/details/{run}",
            "\n".join(dict.fromkeys(errors)).strip() or current.state,
        )


@contextlib.contextmanager
def _explained(host: str) -> Iterator[None]:
    """Turn the errors of kfp's client into errors that say what to do."""
    import kfp_server_api
    from urllib3.exceptions import HTTPError

    try:
        yield
    except kfp_server_api.ApiException as error:
        expected = (
            "an account that may create runs (the role kubeflow-edit in its namespace)"
            if error.status in (401, 403)
            else "a valid request"
        )
        raise JobError(
            f"The server {host} refuses the request", expected, f"{error.status} {error.body}"
        ) from None
    except (HTTPError, TimeoutError) as error:
        raise JobError(f"The server {host} does not answer", "a response", error) from None
