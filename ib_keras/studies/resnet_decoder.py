"""The study of Darlow & Storkey 2020: what a ResNet compresses."""

from __future__ import annotations

import pandas as pd

from ib_keras.studies.noisy_dnn import COLUMNS


def resnet_decoder(table: pd.DataFrame) -> pd.DataFrame:
    """The findings of Darlow & Storkey on residual networks, beside what decoders measured.

    Args:
        table: estimates joined with the logs, as ``ib_keras.load`` returns them.

    Returns:
        A row for each finding, with the columns ``COLUMNS``.

    References:
        Darlow & Storkey, arXiv:2003.06254.
    """
    rows: list[tuple] = []
    for run, part in table.groupby("run", sort=False):
        last = part[part["epoch"] == part["epoch"].max()].sort_values("layer_index")
        by_layer = last.set_index(["quantity", "layer"])["value"]
        for quantity, paper in (
            ("I(X;T)", "less of the image the later the stage"),
            ("I(T;Y)", ""),
            ("P(class kept)", "samples given late stages keep what the class is"),
        ):
            if quantity in by_layer.index.get_level_values(0):
                said = ", ".join(f"{layer} {v:.2f}" for layer, v in by_layer[quantity].items())
                unit = "" if quantity.startswith("P") else " [nats]"
                rows.append((f"{quantity} at the last checkpoint{unit}", run, "", paper, said))
        curves = part[part["quantity"] == "H(X|T)"].sort_values("epoch")
        for layer, curve in curves.groupby("layer", sort=False):
            epochs, known = curve["epoch"].to_numpy(), -curve["value"].to_numpy()
            if len(known) < 3:
                continue
            top = int(known.argmax())
            rows.append((
                "what it tells of the image: highest at epoch, then [nats]", run, layer,
                "a peak (h3 of the classifier: at epoch 10 of 200), then compression",
                f"epoch {epochs[top]}; {known[-1] - known[top]:+.2f} until epoch {epochs[-1]}",
            ))  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)
