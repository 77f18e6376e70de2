"""The interface of the component ``examples``."""

from kfp import dsl

from ib_keras.components.base import component


@component
def examples(
    data: str,
    output: dsl.Output[dsl.Dataset],
    test_fraction: float = 0.2,
    decoder_fraction: float = 0.0,
    seed: int = 0,
):
    """Load a data set and split it.

    Args:
        data: name of a data set ("szt", "digits", "mnist", …), or path of an .npz or .mat file.
        output: the arrays x_train, y_train, x_test, y_test.
        test_fraction: fraction of the rows to hold out, if the data set has no test part.
        decoder_fraction: fraction of the training rows to set apart for training decoders.
        seed: seed of these splits.
    """
    from ib_keras.components.base import publish
    from ib_keras.components.examples import executor

    facts = executor.run(
        data,
        output.path,
        test_fraction=test_fraction,
        decoder_fraction=decoder_fraction,
        seed=seed,
    )
    publish(output, facts)
