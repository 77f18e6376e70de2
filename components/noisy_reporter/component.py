"""The interface of the component ``noisy_reporter``."""

from typing import List  # noqa: UP035  # kfp reads no other spelling

from kfp import dsl

from ib_keras.components.base import component


@component
def noisy_reporter(
    estimates: dsl.Input[List[dsl.Dataset]],  # noqa: UP006
    clusters: dsl.Input[List[dsl.Dataset]],  # noqa: UP006
    output: dsl.Output[dsl.Dataset],
    page: dsl.Output[dsl.HTML],
    title: str = "Noisy networks",
):
    """Merges estimates and clustering measures, and sets what was measured beside the paper.

    Args:
        estimates: from the component ``estimator``.
        clusters: from the component ``clusterer``.
        output: estimates.parquet, logs.parquet, clusters.parquet, findings.csv, pictures and
            report.html.
        page: the page once more, where a pipeline's user interface shows it.
        title: of the page.
    """
    from ib_keras.components.base import parts, publish
    from ib_keras.components.noisy_reporter import executor

    publish(
        output,
        executor.run(
            parts(*[e.path for e in estimates]),
            parts(*[c.path for c in clusters]),
            output.path,
            title=title,
            page=page.path,
        ),
    )
