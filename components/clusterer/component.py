"""The interface of the component ``clusterer``."""

from kfp import dsl

from ib_keras.components.base import component


@component
def clusterer(
    store: dsl.Input[dsl.Dataset],
    output: dsl.Output[dsl.Dataset],
    width: float = 0.0,
    max_samples: int = 1000,
    seed: int = 0,
):
    """Measure how the samples cluster in each layer and epoch.

    Args:
        store: activations, from the component ``capturer``.
        output: the tables measures.parquet and histograms.parquet.
        width: bin width of H(Bin(T)), in the unit of the activations; 0 for 10 times the standard
            deviation of the layer's noise.
        max_samples: the maximum number of rows that are compared in pairs.
        seed: seed of the choice of these rows.
    """
    from ib_keras.components.base import each, parts, publish
    from ib_keras.components.clusterer import executor

    publish(
        output,
        each(
            lambda folder, part: executor.run(
                part, folder, width=float(width), max_samples=max_samples, seed=seed
            ),
            output.path,
            parts(store.path),
        ),
    )
