"""The interface of the component ``estimator``."""

from ib_keras.components.base import component
from kfp import dsl


@component
def estimator(
    store: dsl.Input[dsl.Dataset],
    output: dsl.Output[dsl.Dataset],
    estimator: str = "ebab",
):
    """Estimates I(X;T) and I(T;Y) for every layer and epoch.

    Args:
        store: activations, from the component ``capturer``.
        output: estimates.parquet and logs.parquet.
        estimator: a name ("ebab"), JSON with parameters ({"name": "kde", "variance": 0.1}), or a
            JSON list of these.
    """
    from ib_keras.components.base import publish
    from ib_keras.components.estimator import executor

    publish(output, executor.run(store.path, output.path, estimator=estimator))
