"""What the papers report, beside what a run measured."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from ib_keras import frame
from ib_keras.estimation.against_truth import LATENTS, TRUTH
from ib_keras.estimation.against_truth import against_truth as against_truth
from ib_keras.estimation.against_truth import check_images as check_images

COLUMNS = ["finding", "run", "layer", "paper", "measured"]
_NEURAL = ("mine", "nwj", "infonce")
_NOISY, _DETERMINISTIC = "noisy", "deterministic"


def noisy_dnn(table: pd.DataFrame, measures: pd.DataFrame) -> pd.DataFrame:
    """The findings of Goldfeld et al. on noisy networks, beside what was measured.

    Twins are runs whose names differ in "noisy" and "deterministic" only; a regularised network is
    a run with "orthonormal" in its name.

    Args:
        table: estimates joined with the logs, as ``ib_keras.load`` returns them.
        measures: of ``clustering.measures``.

    Returns:
        A row for each finding, with the columns ``COLUMNS``.

    References:
        Goldfeld et al., ICML 2019, arXiv:1810.05728, sections 4 to 6.
    """
    propagated = table[
        table["estimator"].str.startswith("sp")
        & (table["quantity"] == "I(X;T)")
        & table["value"].notna()
    ]
    rows = [
        *_twins(table),
        *_curves(propagated),
        *_regularised(propagated),
        *_binned(propagated, measures),
        *_gathering(measures),
        *_flagged(table),
    ]
    return pd.DataFrame(rows, columns=COLUMNS)


def levels(table: pd.DataFrame) -> dict[str, float]:
    """What I(X;T) can be where it counts four equally likely inputs, or fewer that are apart.

    Args:
        table: estimates.
    """
    highest = float(table.loc[table["quantity"] == "I(X;T)", "value"].max()) if len(table) else 0.0
    if not abs(highest - math.log(4)) < 0.05:
        return {}
    found = {f"ln {k}": math.log(k) for k in (4, 3, 2)}
    for label, shares in (("H(½,¼,¼)", (2, 1, 1)), ("H(¾,¼)", (3, 1))):
        found[label] = -sum(k / 4 * math.log(k / 4) for k in shares)
    return found


def _last(part: pd.DataFrame) -> pd.Series:
    return part.sort_values("epoch").iloc[-1]


def _twins(table: pd.DataFrame) -> Iterator[tuple]:
    for run in sorted(table["run"].unique()):
        twin = run.replace(_NOISY, _DETERMINISTIC)
        if twin == run or twin not in set(table["run"]):
            continue
        for metric in ("accuracy", "val_accuracy"):
            if metric in table:
                own, other = (_last(table[table["run"] == r])[metric] for r in (run, twin))
                yield (
                    f"{metric} at the end, noisy / deterministic", run, "",
                    "the noisy network tracks its deterministic twin",
                    f"{own:.3f} / {other:.3f}",
                )  # fmt: skip


def _curves(propagated: pd.DataFrame) -> Iterator[tuple]:
    for (run, layer), curve in _layers(propagated):
        top, end = curve.sort_values("value").iloc[-1], _last(curve)
        fall = top["value"] - end["value"]
        yield (
            "I(X;T): its maximum, then its end [nats]", run, layer,
            "rises, then falls where samples cluster",
            f"{top['value']:.2f} (epoch {top['epoch']}) → {end['value']:.2f} ± "
            f"{end['stderr']:.2f}: falls by {fall:.2f}",
        )  # fmt: skip
        heights = levels(curve)
        if heights:
            values = curve.sort_values("epoch")["value"].to_numpy()
            yield (
                "plateaus of I(X;T) [nats]", run, layer,
                "ln 4 = 1.39, ln 3 = 1.10, ln 2 = 0.69, as points merge in saturation",
                ", ".join(f"{value:.2f}" for value in _plateaus(values))
                + "; two of four points merged have 1.04, three have 0.56",
            )  # fmt: skip


def _plateaus(values: np.ndarray, step: float = 0.02) -> list[float]:
    """The levels at which a curve stays for three records or more."""
    found: list[float] = []
    for part in np.split(values, np.flatnonzero(np.abs(np.diff(values)) > step) + 1):
        if len(part) >= 3:
            found.append(float(np.median(part)))
    return found


def _regularised(propagated: pd.DataFrame) -> Iterator[tuple]:
    runs = set(propagated["run"])
    for run in sorted(runs):
        plain = run.replace("-orthonormal", "")
        if plain == run or plain not in runs:
            continue
        falls = []
        for name in (run, plain):
            last_layer = propagated.loc[propagated["run"] == name, "layer_index"].max()
            curve = propagated[
                (propagated["run"] == name) & (propagated["layer_index"] == last_layer)
            ]
            falls.append(curve["value"].max() - _last(curve)["value"])
        yield (
            "fall of I(X;T), orthonormal weights / plain [nats]", run, curve["layer"].iloc[0],
            "less compression with orthonormal weights", f"{falls[0]:.2f} / {falls[1]:.2f}",
        )  # fmt: skip


def _binned(propagated: pd.DataFrame, measures: pd.DataFrame) -> Iterator[tuple]:
    bins = measures[measures["measure"] == "H(Bin(T))"]
    for (run, layer), curve in _layers(propagated):
        both = curve.merge(bins, on=["run", "epoch", "layer"], suffixes=("", "_bins"))
        if len(both) > 2 and np.ptp(both["value"]) > 0.1 and np.ptp(both["value_bins"]) > 0.1:
            r = np.corrcoef(both["value"], both["value_bins"])[0, 1]
            yield (
                "correlation of I(X;T) and H(Bin(T)) over training", run, layer,
                "the binned entropy moves with I(X;T): it measures clustering", f"{r:.2f}",
            )  # fmt: skip


def _gathering(measures: pd.DataFrame) -> Iterator[tuple]:
    wide = measures.pivot_table(
        index=["run", "layer_index", "layer", "epoch"], columns="measure", values="value"
    ).reset_index()
    names = ("mean cosine within", "mean cosine between")
    if not set(names) <= set(wide):
        return
    for run, whole in wide.groupby("run"):
        # The first layer and the last before the output.
        order = sorted(whole["layer_index"].unique())
        for index in dict.fromkeys((order[0], order[max(0, len(order) - 2)])):
            part = whole[whole["layer_index"] == index].sort_values("epoch")
            first, last = part.iloc[0], part.iloc[-1]
            yield (
                "mean cosine similarity within / between classes, first → last epoch",
                run, last["layer"], "classes gather and part, most in the deepest layers",
                f"{first[names[0]]:.2f} / {first[names[1]]:.2f} → "
                f"{last[names[0]]:.2f} / {last[names[1]]:.2f}",
            )  # fmt: skip


def _flagged(table: pd.DataFrame) -> Iterator[tuple]:
    for run, part in table[table["run"].str.contains(_DETERMINISTIC)].groupby("run"):
        known = part[part["value"].notna()]
        share = known["flags"].str.contains("measurement").mean() if len(known) else 1.0
        yield (
            "rows of the deterministic twin flagged as the measurement's own scale", run, "",
            "its I(X;T) is ln n whatever it learns; binning shows clustering",
            f"{share:.0%}",
        )  # fmt: skip


def _layers(propagated: pd.DataFrame) -> Iterator[tuple[tuple[str, str], pd.DataFrame]]:
    for (run, _), part in propagated.groupby(["run", "layer_index"]):
        yield (str(run), part["layer"].iloc[0]), part


def adaptive_estimators(table: pd.DataFrame) -> pd.DataFrame:
    """The findings of Chelombiev et al. on activation functions, beside what was measured.

    Runs are named ``activation-seed`` and, with the L2 penalty, ``activation+l2-seed``.

    Args:
        table: estimates joined with the logs, as ``ib_keras.load`` returns them.

    Returns:
        A row for each finding, with the columns ``COLUMNS``.

    References:
        Chelombiev, Houghton & O'Donnell, ICLR 2019, arXiv:1902.09037.
    """
    falls = frame.compression(table)
    falls["group"] = frame.without_seed(falls["run"])
    hidden = falls[falls["layer_index"] < falls["layer_index"].max()]
    deepest = hidden[hidden["layer_index"] == hidden["layer_index"].max()]
    rows: list[tuple] = []
    for (group, estimator), part in deepest.groupby(["group", "estimator"]):
        if group.endswith("+l2"):
            continue
        fall = part["absolute"]
        rows.append(
            (
                "fall of I(X;T) in the last hidden layer, over seeds [nats]",
                f"{group}, {estimator}",
                part["layer"].iloc[0],
                "compression needs no saturation: unbounded activations compress, too; runs of "
                "different initial weights differ widely",
                f"median {fall.median():.2f}, from {fall.min():.2f} to {fall.max():.2f} over "
                f"{len(part)} seeds",
            )
        )
    for estimator, part in hidden.groupby("estimator", sort=False):
        for group in sorted(set(part["group"])):
            if f"{group}+l2" in set(part["group"]):
                sums = [
                    part[part["group"] == g].groupby("run")["absolute"].sum().median()
                    for g in (f"{group}+l2", group)
                ]
                rows.append(
                    (
                        "fall of I(X;T), summed over the hidden layers, median: with L2 / without "
                        "[nats]",
                        f"{group}, {estimator}",
                        "",
                        "L2 strongly increases compression",
                        f"{sums[0]:.2f} / {sums[1]:.2f}",
                    )
                )
    for estimator in dict.fromkeys(falls["estimator"]):
        for layer, (_, _, result) in generalisation(table, estimator).items():
            if result is not None:
                low, high = result.confidence_interval()
                rows.append(
                    (
                        "correlation of compression and generalisation gap, L2 apart",
                        estimator,
                        layer,
                        "only the last layer's compression is correlated with generalisation",
                        f"r = {result.statistic:.2f}, 95 % from {low:.2f} to {high:.2f}, "
                        f"p = {result.pvalue:.2g}",
                    )
                )
    return pd.DataFrame(rows, columns=COLUMNS)


def generalisation(
    table: pd.DataFrame, estimator: str
) -> dict[str, tuple[pd.DataFrame, pd.DataFrame, Any]]:
    """Compression of each layer against the generalisation gap, over the runs without L2.

    The gap is the training part's accuracy less the held-out part's at the end. For the
    correlation both are taken relative to their mean over an activation's seeds, so that what is
    correlated is one run with another of its kind.

    Args:
        table: estimates joined with the logs.
        estimator: as the table names it.

    Returns:
        Layer → the points (``run``, ``group``, ``compression``, ``gap``), the same relative to
        their group, and SciPy's result of the correlation (``None`` where nothing varies).
    """
    from scipy.stats import pearsonr

    falls = frame.compression(table[table["estimator"] == estimator])
    ends = table.sort_values("epoch").groupby("run").last()
    falls["gap"] = falls["run"].map(ends["accuracy"] - ends["val_accuracy"])
    falls["group"] = frame.without_seed(falls["run"])
    falls = falls[~falls["group"].str.contains("+l2", regex=False)]
    found = {}
    for _, part in falls.groupby("layer_index"):
        points = part[["run", "group"]].assign(compression=part["absolute"], gap=part["gap"])
        measures = points.groupby("group")[["compression", "gap"]]
        centred = points[["compression", "gap"]] - measures.transform("mean")
        varies = len(points) > 3 and (centred.std() > 1e-9).all()
        result = pearsonr(centred["compression"], centred["gap"]) if varies else None
        found[part["layer"].iloc[0].removesuffix("_prelu")] = (points, centred, result)
    return found


def known_information(table: pd.DataFrame) -> pd.DataFrame:
    """The findings of Butakov et al. on images of known information, beside what was measured.

    Args:
        table: estimates of ``against_truth`` joined with the logs.

    Returns:
        A row for each finding, with the columns ``COLUMNS``.

    References:
        Butakov et al., ICLR 2024, arXiv:2305.08013, section 4.
    """
    rows: list[tuple] = []
    known = table.sort_values(TRUTH).assign(group=groups_of_truth(table))
    for group, part in known.groupby("group"):
        of_images = part[part["layer"] != LATENTS]
        wide = of_images.pivot_table(index=TRUTH, columns="estimator", values="value", sort=False)
        latents = part[part["layer"] == LATENTS].pivot_table(
            index=TRUTH, columns="estimator", values="value", sort=False
        )
        best = latents.max(axis=1)
        for estimator in (str(e) for e in wide if "+" in str(e)):
            values = wide[estimator]
            said = ", ".join(f"{v:.2f} ({t:g})" for t, v in values.items())
            share = (values / best)[best.index >= 1]
            rows.append((
                "estimate (truth) [nats]", group, estimator,
                "near the truth where the compressor keeps what is shared",
                f"{said}; of what neighbours find in the images' parameters: "
                f"{share.min():.0%} to {share.max():.0%}",
            ))  # fmt: skip
            for neural in (str(e) for e in wide if str(e).startswith(_NEURAL)):
                errors = (wide[[estimator, neural]].sub(wide.index, axis=0)).abs()
                nearer = [f"{t:g}" for t in errors.index if errors.loc[t].idxmin() == estimator]
                rows.append((
                    f"nearer to the truth than {neural}", group, estimator,
                    "at each known information", f"at {', '.join(nearer) or 'none'} nats, "
                    f"of {', '.join(f'{t:g}' for t in errors.index)}",
                ))  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def groups_of_truth(table: pd.DataFrame) -> pd.Series:
    """The images of each row, as ``gaussian-16``: its run without the known information.

    Args:
        table: estimates of ``against_truth``.
    """
    return table["run"].str.rpartition("-")[0]


def lossy_compression(table: pd.DataFrame) -> pd.DataFrame:
    """The findings of Butakov et al. on a network's training, beside what was measured.

    Args:
        table: estimates joined with the logs, as ``ib_keras.load`` returns them.

    Returns:
        A row for each finding, with the columns ``COLUMNS``.

    References:
        Butakov et al., ICLR 2024, arXiv:2305.08013, section 5.
    """
    rows: list[tuple] = []
    losses = {
        str(run): part.dropna(subset="loss").drop_duplicates("epoch").set_index("epoch")["loss"]
        for run, part in table.sort_values("epoch").groupby("run")
        if "loss" in table
    }
    found = frame.phases(table[frame.columns(table)])
    for (run, layer, estimator), part in found.groupby(["run", "layer", "estimator"], sort=False):
        steps = ", ".join(
            f"{row.phase} {row.start}–{row.stop} ({row.change:+.2f})" for row in part.itertuples()
        )
        rows.append((
            "phases of I(X;T): epochs, change [nats]", f"{run}, {estimator}", layer,
            "several phases of fitting and of compression", steps,
        ))  # fmt: skip
        falls = part[part["phase"] == "compression"]
        loss = losses.get(str(run))
        if len(falls) and loss is not None and len(loss) > 2:
            first = falls.iloc[0]
            epochs = loss.index.to_numpy()
            at = int(np.argmax(-np.diff(loss.to_numpy()) / np.diff(epochs)))
            rows.append((
                "first compression, and the fastest fall of the loss [epochs]",
                f"{run}, {estimator}", layer,
                "the first compression comes with the fastest fall of the loss",
                f"{first['start']}–{first['stop']}; {epochs[at]}–{epochs[at + 1]}",
            ))  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


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
