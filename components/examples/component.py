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
    """Loads a data set and splits it.

    Args:
        data: a name ("szt", "digits", "mnist", …) or the path of an .npz or .mat file.
        output: the arrays x_train, y_train, x_test, y_test.
        test_fraction: share of the rows held out, where the data come unsplit.
        decoder_fraction: share of the training rows that is set apart, to train decoders.
        seed: of these splits.
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
