"""The interface of the component ``ensembler``."""

from typing import List  # noqa: UP035  # kfp reads no other spelling

from kfp import dsl

from ib_keras.components.base import component


@component
def ensembler(
    examples: dsl.Input[dsl.Dataset],
    output: dsl.Output[dsl.Dataset],
    estimators: List[str],  # noqa: UP006
    model: str = "szt",
    seeds: int = 10,
    epochs: int = 400,
    batch_size: int = 256,
    learning_rate: float = 0.0004,
    record: str = "log",
    cluster: bool = False,
    seed: int = 0,
):
    """Train networks that differ in their initial weights side by side, and estimate.

    Args:
        examples: the data set, from the component ``examples``.
        output: the tables estimates.parquet and logs.parquet.
        estimators: names of estimators, or JSON with their parameters and their own "record".
        model: a name ("szt", "mlp"), JSON with its parameters, or "module:function";
            or a JSON list of these.
        seeds: number of networks.
        epochs: number of epochs.
        batch_size: number of samples per training step.
        learning_rate: learning rate of Adam.
        record: which epochs to record: "log", "log:100", or a step or list of epochs in JSON.
        cluster: whether to measure how the samples of each layer cluster, too.
        seed: seed of the first network; the following networks have the following seeds.
    """
    from ib_keras.components.base import each, items, log, publish
    from ib_keras.components.ensembler import executor

    publish(
        output,
        each(
            lambda folder, identifier: executor.run(
                examples.path,
                folder,
                estimators=estimators,
                model=identifier,
                seeds=seeds,
                epochs=epochs,
                batch_size=batch_size,
                learning_rate=float(learning_rate),
                record=record,
                cluster=cluster,
                seed=seed,
                progress=log,
            ),
            output.path,
            items(model),
        ),
    )
