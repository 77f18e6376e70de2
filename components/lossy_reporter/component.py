"""The interface of the component ``lossy_reporter``."""

from typing import List  # noqa: UP035  # kfp reads no other spelling

from kfp import dsl

from ib_keras.components.base import component


@component
def lossy_reporter(
    estimates: dsl.Input[List[dsl.Dataset]],  # noqa: UP006
    output: dsl.Output[dsl.Dataset],
    page: dsl.Output[dsl.HTML],
    title: str = "Lossy compression",
):
    """Merges estimates through compression, and sets what was measured beside the paper.

    Args:
        estimates: from the component ``known_pairs`` or ``estimator``.
        output: estimates.parquet, logs.parquet, findings.csv, pictures and report.html.
        page: the page once more, where a pipeline's user interface shows it.
        title: of the page.
    """
    from ib_keras.components.base import parts, publish
    from ib_keras.components.lossy_reporter import executor

    publish(
        output,
        executor.run(parts(*[e.path for e in estimates]), output.path, title=title, page=page.path),
    )
