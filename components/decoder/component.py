"""The interface of the component ``decoder``."""

from kfp import dsl

from ib_keras.components.base import component


@component
def decoder(
    checkpoints: dsl.Input[dsl.Model],
    examples: dsl.Input[dsl.Dataset],
    prior: dsl.Input[dsl.Model],
    output: dsl.Output[dsl.Dataset],
    cell: str,
    decoder: str = "{}",
    max_samples: int = 100000,
    draws: int = 2,
    warm_start: bool = False,
    work: str = "",
):
    """Trains PixelCNN++ decoders of images given a layer, one for each of its checkpoints.

    Args:
        checkpoints: networks, from the component ``trainer``, or several from ``gatherer``.
        examples: the data, from the component ``examples``, with rows set apart for decoders.
        prior: q(x), from the component ``image_prior``.
        output: estimates.parquet, logs.parquet, and samples.npz, images that were drawn.
        cell: JSON: {"run": "resnet", "layer": "h3", "epochs": [0, 10]}; or a JSON list of these.
        decoder: JSON of the decoders' parameters, the same as those of the prior.
        max_samples: at most so many rows train it, and as many are evaluated.
        draws: images to draw for each.
        warm_start: begins with the decoder of the checkpoint before. Later decoders have then been
            trained longer, which in a curve over training looks like a network that still learns.
        work: a folder that outlives the task, to go on in after an interruption; "" for none.
    """
    from ib_keras.components.base import each, items, parts, publish
    from ib_keras.components.decoder import executor

    folders = parts(checkpoints.path)
    publish(
        output,
        each(
            lambda folder, one: executor.run(
                folders,
                examples.path,
                prior.path,
                folder,
                cell=one,
                decoder=decoder,
                max_samples=max_samples,
                draws=draws,
                warm_start=warm_start,
                work=work or None,
            ),
            output.path,
            items(cell),
        ),
    )
