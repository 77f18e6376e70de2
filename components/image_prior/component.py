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
    """Trains a PixelCNN++ without a condition, which decoders are compared with.

    Args:
        examples: the data, from the component ``examples``, with rows set apart for decoders.
        output: the model, and what it says of held-out images.
        decoder: JSON of the decoders' parameters, such as {"levels": 17}.
        max_samples: at most so many rows train it, and as many are evaluated.
        draws: images to draw.
        work: a folder that outlives the task, to go on in after an interruption; "" for none.
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
