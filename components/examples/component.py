"""The interface of the component ``examples``."""

from kfp import dsl

from ib_keras.components.base import component


@component
def examples(
    data: str,
    output: dsl.Output[dsl.Dataset],
    label: str = "",
    image_size: str = "",
    scale: str = "auto",
    test_fraction: float = 0.2,
    decoder_fraction: float = 0.0,
    max_rows: int = 0,
    seed: int = 0,
):
    """Load a data set and split it.

    Args:
        data: name of a data set ("szt", "digits", "mnist", …), or path of an .npz, .mat, .csv or
            .parquet file, of a folder of images by class, or of a saved tf.data.Dataset.
        output: the arrays x_train, y_train, x_test, y_test, and with decoders x_decoder, y_decoder.
        label: name of the column with the labels, or several names of columns of numbers with
            commas between them; empty for the only column called y, label, target or class.
        image_size: height and width to which images are resized, such as "16" or "32x48"; empty
            for no change.
        scale: how inputs are scaled: "auto" ("columns" for tables, otherwise "images"), "images"
            (8-bit images to [0, 1], other inputs not), "standard" (images to mean 0 and standard
            deviation 1 over the training rows, by channel), "columns" (each column to mean 0 and
            standard deviation 1 over the training rows), or "none".
        test_fraction: fraction of the rows to hold out, if the data set has no test part.
        decoder_fraction: fraction of the training rows to set apart for training decoders. Data
            with a part "valid" use all of that instead, if the fraction is above 0.
        max_rows: maximum number of rows of each part, chosen at random; 0 for all.
        seed: seed of these splits.
    """
    from ib_keras.components.base import publish
    from ib_keras.components.examples import executor

    facts = executor.run(
        data,
        output.path,
        label=label,
        image_size=image_size,
        scale=scale,
        test_fraction=float(test_fraction),
        decoder_fraction=float(decoder_fraction),
        max_rows=max_rows,
        seed=seed,
    )
    publish(output, facts)
