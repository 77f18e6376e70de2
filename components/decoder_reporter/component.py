"""The interface of the component ``decoder_reporter``."""

from typing import List  # noqa: UP035  # kfp reads no other spelling

from kfp import dsl

from ib_keras.components.base import component


@component
def decoder_reporter(
    estimates: dsl.Input[List[dsl.Dataset]],  # noqa: UP006
    output: dsl.Output[dsl.Dataset],
    page: dsl.Output[dsl.HTML],
    title: str = "What a residual network keeps",
):
    """Merges what decoders said of layers, with curves over training and pictures.

    Args:
        estimates: from the component ``decoder``.
        output: estimates.parquet, logs.parquet, findings.csv, pictures and report.html.
        page: the page once more, where a pipeline's user interface shows it.
        title: of the page.
    """
    from ib_keras.components.base import parts, publish
    from ib_keras.components.decoder_reporter import executor

    folders = parts(*(e.path for e in estimates))
    publish(output, executor.run(folders, output.path, title=title, page=page.path))
