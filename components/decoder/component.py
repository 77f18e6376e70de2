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
    judged: int = 200,
    share: bool = False,
    warm_start: bool = False,
    work: str = "",
):
    """Train PixelCNN++ decoders of images given a layer at its checkpoints.

    Args:
        checkpoints: checkpoints of one network from the component ``trainer``, or of several
            networks from ``gatherer``.
        examples: the data set, from the component ``examples``, with rows set apart for decoders.
        prior: the unconditional decoder q(x), from the component ``image_prior``.
        output: estimates.parquet, logs.parquet, and the sampled images in samples.npz.
        cell: which checkpoints to decode, as JSON: {"run": "resnet", "layer": "h3",
            "epochs": [0, 10]}; or a JSON list of these.
        decoder: JSON object with the decoders' parameters, the same as those of the prior.
        max_samples: the maximum number of rows for training, and of rows for evaluation.
        draws: number of samples per image.
        judged: number of held-out images for each of which a classifier, trained on the decoders'
            rows, judges whether a sample has its class.
        share: whether to train one decoder for all checkpoints of a cell instead of one for each.
            All checkpoints have linear maps of their own into the same decoder, which is also
            trained without a condition: I(X;T) is what it gains by the condition.
        warm_start: whether to start from the decoder of the previous checkpoint. Later decoders
            are then trained longer, which can look as if the network were still learning.
        work: a folder that outlives the task, in which an interrupted training is resumed; "" for
            no such folder.
    """
    from ib_keras.components.base import each, items, parts, publish
    from ib_keras.components.decoder import executor

    folders = parts(checkpoints.path)
    publish(
        output,
        each(
            lambda folder, item: executor.run(
                folders,
                examples.path,
                prior.path,
                folder,
                cell=item,
                decoder=decoder,
                max_samples=max_samples,
                draws=draws,
                judged=judged,
                share=share,
                warm_start=warm_start,
                work=work or None,
            ),
            output.path,
            items(cell),
        ),
    )
