"""The interface of the component ``capturer``."""

from kfp import dsl

from ib_keras.components.base import component


@component
def capturer(
    checkpoints: dsl.Input[dsl.Model],
    examples: dsl.Input[dsl.Dataset],
    output: dsl.Output[dsl.Dataset],
    split: str = "all",
    max_samples: int = 10000,
    draws: int = 1,
    conditional_inputs: int = 128,
    propagations: int = 64,
    views: str = "",
    seed: int = 0,
):
    """Record the hidden representations at every checkpoint.

    Args:
        checkpoints: the model's checkpoints, from the component ``trainer``.
        examples: the data set, from the component ``examples``.
        output: an ib_keras.ActivationStore.
        split: which rows to record: "train", "test" or "all".
        max_samples: the maximum number of rows; the first ones are recorded.
        draws: number of noisy forward passes per epoch.
        conditional_inputs: number of rows that are propagated repeatedly, for sample propagation.
        propagations: number of times each of these rows is propagated.
        views: functions of the layers' outputs to record in their place: the name of a view, such
            as "mean", or JSON of names or globs of layers and views, {"block*": "mean"}. See
            ib_keras.views. The views "pca:k" are fitted on rows that are not recorded.
        seed: seed of the noise.
    """
    from ib_keras.components.base import each, parts, publish
    from ib_keras.components.capturer import executor

    publish(
        output,
        each(
            lambda folder, part: executor.run(
                part,
                examples.path,
                folder,
                split=split,
                max_samples=max_samples,
                draws=draws,
                conditional_inputs=conditional_inputs,
                propagations=propagations,
                views=views,
                seed=seed,
            ),
            output.path,
            parts(checkpoints.path),
        ),
    )
