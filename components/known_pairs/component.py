"""The interface of the component ``known_pairs``."""

from typing import List  # noqa: UP035  # kfp reads no other spelling

from kfp import dsl

from ib_keras.components.base import component


@component
def known_pairs(
    output: dsl.Output[dsl.Dataset],
    estimators: List[str],  # noqa: UP006
    mi: List[float],  # noqa: UP006
    images: str = '{"images": "gaussian", "size": 16}',
    samples: int = 5000,
    seed: int = 0,
):
    """Run estimators on pairs of images whose mutual information is known.

    Args:
        output: the tables estimates.parquet and logs.parquet; the latter has the true mutual
            information in its column "mi".
        estimators: names of estimators, or JSON with their parameters.
        mi: the true values of the mutual information in nats; each is a run of the table.
        images: JSON object with "images", which is "gaussian", "correlated", "rectangle" or
            "hidden", and "size", the height and width in pixels; perhaps with "seed", which the
            runs then have in their names, and "rotate": false; or a JSON list of these.
        samples: number of pairs; the same number of additional images trains the compressors.
        seed: seed of the images and the compressors.
    """
    from ib_keras.components.base import each, items, publish
    from ib_keras.components.known_pairs import executor

    publish(
        output,
        each(
            lambda folder, kind: executor.run(
                folder,
                estimators=estimators,
                mi=[float(value) for value in mi],
                images=kind,
                samples=samples,
                seed=seed,
            ),
            output.path,
            items(images),
        ),
    )
