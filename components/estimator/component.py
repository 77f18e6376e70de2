"""The interface of the component ``estimator``."""

from typing import List, Optional  # noqa: UP035  # kfp reads no other spelling

from kfp import dsl

from ib_keras.components.base import component


@component
def estimator(
    store: dsl.Input[dsl.Dataset],
    output: dsl.Output[dsl.Dataset],
    estimator: str = "ebab",
    estimators: List[str] = [],  # noqa: B006, UP006
    shard: str = "",
    conditional: bool = False,
    compressor: Optional[dsl.Input[dsl.Model]] = None,  # noqa: UP045
):
    """Estimate I(X;T) and I(T;Y) for every layer and epoch, or for a part of them.

    Args:
        store: activations, from the component ``capturer``.
        output: the tables estimates.parquet and logs.parquet.
        estimator: a name ("ebab"), or JSON with parameters ({"name": "kde", "variance": 0.1});
            or a JSON list of these.
        estimators: list of several estimators; if given, ``estimator`` is ignored.
        shard: the layers, epochs and estimator of this task, from the component ``planner``; if
            given, ``estimator`` and ``estimators`` are ignored.
        conditional: whether to also estimate I(X;T|Y).
        compressor: a compressor of the inputs that was fitted on other rows, from the component
            ``compressor``; the estimators ``lossy`` use it in place of their own ``compress_x``.
    """
    from ib_keras.components.artifacts import shards
    from ib_keras.components.base import each, items, parts, publish
    from ib_keras.components.estimator import executor

    stores = parts(store.path)
    fitted = None if compressor is None else compressor.path
    if shard:
        facts = each(
            lambda folder, part: executor.run_part(
                stores, folder, part, conditional=conditional, compressor=fitted
            ),
            output.path,
            shards.read(shard),
        )
    else:
        facts = each(
            lambda folder, path: executor.run(
                path,
                folder,
                estimator=estimators or items(estimator),
                conditional=conditional,
                compressor=fitted,
            ),
            output.path,
            stores,
        )
    publish(output, facts)
