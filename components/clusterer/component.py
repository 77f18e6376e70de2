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
    """Measures how the samples cluster in each layer and epoch.

    Args:
        store: activations, from the component ``capturer``.
        output: measures.parquet and histograms.parquet.
        width: side of the bins of H(Bin(T)), in the unit of the activations; 0 for 10 times the
            layer's noise.
        max_samples: rows of which pairs are formed.
        seed: of their choice.
    """
    from ib_keras.components.base import each, parts, publish
    from ib_keras.components.clusterer import executor

    publish(
        output,
        each(
            lambda folder, one: executor.run(
                one, folder, width=width, max_samples=max_samples, seed=seed
            ),
            output.path,
            parts(store.path),
        ),
    )
