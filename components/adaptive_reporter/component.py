"""The interface of the component ``adaptive_reporter``."""

from typing import List  # noqa: UP035  # kfp reads no other spelling

from kfp import dsl

from ib_keras.components.base import component


@component
def adaptive_reporter(
    estimates: dsl.Input[List[dsl.Dataset]],  # noqa: UP006
    output: dsl.Output[dsl.Dataset],
    page: dsl.Output[dsl.HTML],
    title: str = "Activation functions",
):
    """Merges the estimates of ensembles, and sets what was measured beside the paper.

    Args:
        estimates: from the component ``ensembler``.
        output: estimates.parquet, logs.parquet, compression.csv, findings.csv, pictures and
            report.html.
        page: the page once more, where a pipeline's user interface shows it.
        title: of the page.
    """
    from ib_keras.components.adaptive_reporter import executor
    from ib_keras.components.base import parts, publish

    publish(
        output,
        executor.run(parts(*[e.path for e in estimates]), output.path, title=title, page=page.path),
    )
