"""The interface of the component ``planner``."""

from typing import List  # noqa: UP035  # kfp reads no other spelling

from kfp import dsl

from ib_keras.components.base import component


@component
def planner(
    store: dsl.Input[dsl.Dataset],
    estimators: List[str] = ["ebab"],  # noqa: B006, UP006
    shards: int = 0,
) -> List[str]:  # noqa: UP006
    """Split the estimates of a store into shards, over which a loop of ``estimator`` tasks runs.

    Args:
        store: activations, from the component ``capturer``.
        estimators: names, or JSON with parameters; all are run on the store.
        shards: the number of shards to make, up to 100. With 0, each estimator has one shard, or
            more if this would take more than an hour.

    Returns:
        The shards, for the argument ``shard`` of the component ``estimator``.
    """
    from ib_keras.components.base import log, parts
    from ib_keras.components.planner import executor

    plan, facts = executor.run(parts(store.path), estimators=estimators, shards=shards)
    log(facts)
    return plan
