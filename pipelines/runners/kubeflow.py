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
# Names the file of a token; kfp's own variable.
_TOKEN_VARIABLE = "KF_PIPELINES_SA_TOKEN_PATH"  # nosec B105
_VERTEX_ONLY = ("project", "region", "network", "labels", "fetch")


def run(
    pipeline: Any, settings: Mapping[str, Any], *, name: str, options: Mapping[str, Any]
) -> int:
    """Submits a pipeline as a run of a Kubeflow Pipelines server.

    Args:
        pipeline: decorated by ``kfp.dsl.pipeline``.
        settings: its arguments.
        name: of the pipeline; its experiment on the server has it, too.
        options: ``host``, ``image``, ``pipeline_root``, ``service_account``, ``enable_caching``,
            ``machines``; ``wait`` follows the run, ``dry_run`` prints a summary of
            what would be submitted (``output``: a file for the whole, or ``"-"`` to print it).

    Returns:
        0; what goes wrong is raised.

    Raises:
        ArgumentError: an option is invalid, or one of Vertex AI's.
        JobError: the server does not answer, does not accept the run, or the run failed.
    """
    foreign = [option for option in _VERTEX_ONLY if options.get(option)]
    if foreign:
        raise ArgumentError(
            "Kubeflow Pipelines knows nothing of some options", "them for --runner=vertex", foreign
        )
    host = remote.required(
        options, "host", "the server's address: --host=http://localhost:8888"
    ).rstrip("/")
    if not host.startswith(("http://", "https://")):
        raise ArgumentError("`host` is not an address", "http://… or https://…", repr(host))
    dry_run.check_output(options.get("output"))
    spec = remote.specification(pipeline, options)
    values = remote.arguments(settings)
    given = {
        "arguments": values,
        "experiment_name": name,
        "pipeline_root": options.get("pipeline_root") or None,
        "enable_caching": options.get("enable_caching"),
        "service_account": options.get("service_account") or None,
    }
    if options.get("dry_run"):
        request = {key: value for key, value in given.items() if value not in (None, {})}
        about = {
            "run": name,
            "runs at": host,
            "results": options.get("pipeline_root") or "where the server keeps its artifacts",
        }
        whole = {"host": host, **request, "pipelineSpec": spec}
        dry_run.show(whole, spec, settings, about, options.get("output"))
        return 0
    for hint in dry_run.hints(settings):
        print(f"Note: {hint}")
    client = _client(host)
    with remote.written(spec) as path, _explained(host):
        started = client.create_run_from_pipeline_package(
            path, run_name=f"{name} {time.strftime('%Y-%m-%d %H:%M:%S')}", **given
        )
    print(f"Submitted run {started.run_id}", flush=True)
    if options.get("wait"):
        _follow(client, started.run_id, host)
    return 0


def _client(host: str) -> Any:
    """The client of a server that answers; the client itself would try for half a minute."""
    import kfp

    credentials = None
    if os.environ.get(_TOKEN_VARIABLE):
        credentials = kfp.client.ServiceAccountTokenVolumeCredentials()
    try:
        with urllib.request.urlopen(host + _HEALTH, timeout=10) as answer:  # nosec B310
            kind = answer.headers.get("Content-Type", "")
    except urllib.error.HTTPError as error:
        if error.code not in (401, 403):
            raise JobError(
                f"{host} is no Kubeflow Pipelines server", f"an answer at {_HEALTH}", error
            ) from None
        kind = "login"
    except (OSError, ValueError) as error:
        raise JobError(
            f"The server {host} does not answer",
            "a server; for one in a cluster: kubectl port-forward -n kubeflow "
            "svc/ml-pipeline 8888:8888, then --host=http://localhost:8888",
            error,
        ) from None
    if "json" not in kind and credentials is None:
        raise JobError(
            f"The server {host} wants a login",
            f"a token: its file's path in the environment variable {_TOKEN_VARIABLE}",
            kind,
        )
    with _explained(host), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return kfp.Client(host=host, credentials=credentials)


def _follow(client: Any, run: str, host: str) -> None:
    """Prints the states of the run and its tasks until it has ended."""
    progress = remote.Progress()
    while True:
        with _explained(host):
            found = client.get_run(run)
        tasks = (found.run_details and found.run_details.task_details) or []
        for task in tasks:
            if task.state:
                progress.show(task.task_id, task.display_name or "task", task.state)
        if found.state:
            progress.show(None, "run", found.state)
        if found.state in _DONE:
            break
        time.sleep(POLL_SECONDS)
    if found.state != "SUCCEEDED":
        failed = [
            f"{task.display_name}: {task.error.message if task.error else 'no message'}"
            for task in tasks
            if task.state == "FAILED"
        ]
        error = found.error.message if found.error else ""
        raise JobError(
            f"The run {found.state.lower()}",
            f"every task to end well; logs at {host}/#/runs/details/{run}",
            "\n".join(dict.fromkeys([*failed, error or ""])).strip() or found.state,
        )


@contextlib.contextmanager
def _explained(host: str) -> Iterator[None]:
    """Raises what kfp's client raises as errors that say what is to be done."""
    import kfp_server_api
    from urllib3.exceptions import HTTPError

    try:
        yield
    except kfp_server_api.ApiException as error:
        expected = (
            "an account that may create runs (the role kubeflow-edit in its namespace)"
            if error.status in (401, 403)
            else "a request that it accepts"
        )
        raise JobError(
            f"The server {host} refuses the request", expected, f"{error.status} {error.body}"
        ) from None
    except (HTTPError, TimeoutError) as error:
        raise JobError(f"The server {host} does not answer", "an answer", error) from None
