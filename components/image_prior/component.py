"""The interface of the component ``image_prior``."""

from kfp import dsl

from ib_keras.components.base import component


@component
def image_prior(
    examples: dsl.Input[dsl.Dataset],
    output: dsl.Output[dsl.Model],
    decoder: str = "{}",
    max_samples: int = 100000,
    draws: int = 2,
    work: str = "",
):
    """Train an unconditional PixelCNN++, the baseline with which decoders are compared.

    Args:
        examples: the data set, from the component ``examples``, with rows set apart for decoders.
        output: the model, and the likelihoods of held-out images under it.
        decoder: JSON object with the decoders' parameters, such as {"levels": 17}.
        max_samples: the maximum number of rows for training, and of rows for evaluation.
        draws: number of images to sample.
        work: a folder that outlives the task, in which an interrupted training is resumed; "" for
            no such folder.
    """
    from ib_keras.components.base import publish
    from ib_keras.components.image_prior import executor

    facts = executor.run(
        examples.path,
        output.path,
        decoder=decoder,
        max_samples=max_samples,
        draws=draws,
        work=work or None,
    )
    publish(output, facts)
