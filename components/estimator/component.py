"""The interface of the component ``estimator``."""

from typing import List  # noqa: UP035  # kfp reads no other spelling

from kfp import dsl

from ib_keras.components.base import component


@component
def estimator(
    store: dsl.Input[dsl.Dataset],
    output: dsl.Output[dsl.Dataset],
    estimator: str = "ebab",
    estimators: List[str] = [],  # noqa: B006, UP006
):
    """Estimate I(X;T) and I(T;Y) for every layer and epoch.

    Args:
        store: activations, from the component ``capturer``.
        output: the tables estimates.parquet and logs.parquet.
        estimator: a name ("ebab"), or JSON with parameters ({"name": "kde", "variance": 0.1});
            or a JSON list of these.
        estimators: list of several estimators; if given, ``estimator`` is ignored.
    """
    from ib_keras.components.base import each, items, parts, publish
    from ib_keras.components.estimator import executor

    chosen = estimators or items(estimator)
    publish(
        output,
        each(
            lambda folder, part: executor.run(part, folder, estimator=chosen),
            output.path,
            parts(store.path),
        ),
    )
