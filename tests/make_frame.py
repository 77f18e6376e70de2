"""A table of estimates with made-up values, for the tests of plots, reports and the reporter."""

import numpy as np

from ib_keras import frame


def make_frame(
    runs=("tanh",), estimators=("ebab",), layers=("a", "b/c"), epochs=(0, 1, 10), **fixed
):
    rows = []
    for run in runs:
        for estimator in estimators:
            for i, layer in enumerate(layers):
                for epoch in epochs:
                    x = 5.0 - i + 0.1 * epoch
                    for quantity, value in (("I(X;T)", x), ("I(T;Y)", 0.1 * x)):
                        rows.append(
                            dict(
                                run=run, epoch=epoch, layer=layer, layer_index=i, dim=3, n=100,
                                estimator=estimator, quantity=quantity, value=value, stderr=np.nan,
                                kind="estimate", flags="", noise_std=0.0, seconds=0.1, unit="nats",
                            )
                            | fixed
                        )  # fmt: skip
    return frame.from_rows(rows)
