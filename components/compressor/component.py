"""The interface of the component ``compressor``."""

from kfp import dsl

from ib_keras.components.base import component


@component
def compressor(
    examples: dsl.Input[dsl.Dataset],
    output: dsl.Output[dsl.Model],
    compressor: str = '{"name": "ae", "convolutional": true}',
    max_samples: int = 0,
    seed: int = 0,
):
    """Train an autoencoder of the inputs on the training rows, for estimates from other rows.

    Args:
        examples: the data set, from the component ``examples``.
        output: the fitted compressor, for the argument ``compressor`` of ``estimator``.
        compressor: JSON object with the parameters of the autoencoder.
        max_samples: the maximum number of training rows to use; 0 for all.
        seed: seed of the split for early stopping, the weights, the noise and the batches.
    """
    from ib_keras.components.base import publish
    from ib_keras.components.compressor import executor

    facts = executor.run(
        examples.path, output.path, compressor=compressor, max_samples=max_samples, seed=seed
    )
    publish(output, facts)
