"""The interface of the component ``reporter``."""

from typing import List, Optional  # noqa: UP035  # kfp reads no other spelling

from kfp import dsl

from ib_keras.components.base import component


@component
def reporter(
    estimates: dsl.Input[List[dsl.Dataset]],  # noqa: UP006
    output: dsl.Output[dsl.Dataset],
    page: dsl.Output[dsl.HTML],
    study: str = "information_plane",
    title: str = "",
    clusters: Optional[dsl.Input[List[dsl.Dataset]]] = None,  # noqa: UP006, UP045
):
    """Merge estimates into one table, and show a study of it in pictures and on one page.

    Args:
        estimates: tables of estimates, from the component ``estimator``, ``ensembler``,
            ``known_pairs`` or ``decoder``.
        output: estimates.parquet, logs.parquet, the study's tables and pictures, report.html.
        page: a copy of the page, which the user interface of Kubeflow Pipelines displays.
        study: name of the study: "information_plane", "noisy_dnn", "adaptive_estimators",
            "lossy_compression" or "resnet_decoder".
        title: title of the page; the default is the title of the study.
        clusters: clustering measures, from the component ``clusterer``, for the study "noisy_dnn".
    """
    from ib_keras.components.base import parts, publish
    from ib_keras.components.reporter import executor

    facts = executor.run(
        parts(*(e.path for e in estimates)),
        output.path,
        study=study,
        clusters=parts(*(c.path for c in clusters or [])),
        title=title,
        page=page.path,
    )
    publish(output, facts)
