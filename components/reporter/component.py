"""The interface of the component ``reporter``."""

from typing import List  # noqa: UP035  # kfp reads no other spelling

from kfp import dsl

from ib_keras.components.base import component


@component
def reporter(
    estimates: dsl.Input[List[dsl.Dataset]],  # noqa: UP006
    output: dsl.Output[dsl.Dataset],
    page: dsl.Output[dsl.HTML],
    title: str = "Information plane",
):
    """Merges estimates into one table, one picture and one page.

    Args:
        estimates: from the component ``estimator``.
        output: estimates.parquet, logs.parquet, information_plane.png, report.html.
        page: the page once more, where a pipeline's user interface shows it.
        title: of the page.
    """
    from ib_keras.components.base import parts, publish
    from ib_keras.components.reporter import executor

    publish(
        output,
        executor.run(parts(*[e.path for e in estimates]), output.path, title=title, page=page.path),
    )
