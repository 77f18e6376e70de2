"""The study of Butakov et al. 2024: information through compression."""

from __future__ import annotations

import numpy as np
import pandas as pd

from ib_keras import frame, plot
from ib_keras.frame.table import LATENTS, TRUTH
from ib_keras.report import Section
from ib_keras.studies.material import COLUMNS, Material, Reported, findings_section, plane

_NEURAL = ("mine", "nwj", "infonce")


def known_information(table: pd.DataFrame) -> pd.DataFrame:
    """Compare the findings of Butakov et al. on images of known information with measurements.

    Args:
        table: estimates of ``against_truth`` joined with its logs.

    Returns:
        A frame with a row for each finding, with the columns ``COLUMNS``.

    References:
        Butakov et al., ICLR 2024, arXiv:2305.08013, section 4.
    """
    rows: list[tuple] = []
    known = frame.over_seeds_of_truth(frame.convert(table, "nats"))
    for group, part in known.groupby("group"):
        of_latents = part["layer"] == LATENTS
        wide, latents = (
            side.pivot_table(index=TRUTH, columns="estimator", values="value", sort=False)
            for side in (part[~of_latents], part[of_latents])
        )
        spread = part[~of_latents].pivot_table(
            index=TRUTH, columns="estimator", values="stderr", sort=False
        )
        seeds = int(part["seeds"].max())
        best = latents.max(axis=1)
        for estimator in (str(e) for e in wide if "+" in str(e)):
            values = wide[estimator]
            errors = dict(spread[estimator]) if seeds > 1 and estimator in spread else {}
            pairs = ", ".join(
                f"{v:.2f}{f' ± {errors[t]:.2f}' if t in errors else ''} ({t:g})"
                for t, v in values.items()
            )
            share = (values / best).loc[1:].dropna()
            beside = (
                f"; {share.min():.0%} to {share.max():.0%} of the nearest-neighbour estimates "
                "from the images' parameters"
            )
            rows.append((
                "estimate (truth) [nats]" + (f", ± std of {seeds} seeds" if seeds > 1 else ""),
                group, estimator,
                "near the truth if the compressor keeps the shared information",
                pairs + (beside if len(share) else ""),
            ))  # fmt: skip
            for neural in (str(e) for e in wide if str(e).startswith(_NEURAL)):
                off = (wide[[estimator, neural]].sub(wide.index, axis=0)).abs()
                nearer = [f"{t:g}" for t in off.index if off.loc[t].idxmin() == estimator]
                rows.append((
                    f"nearer to the truth than {neural}", group, estimator,
                    "at each known information", f"at {', '.join(nearer) or 'none'} nats, "
                    f"of {', '.join(f'{t:g}' for t in off.index)}",
                ))  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def lossy_compression(table: pd.DataFrame) -> pd.DataFrame:
    """Compare the findings of Butakov et al. on the training of a network with measurements.

    Args:
        table: estimates joined with the logs, as ``ib_keras.load`` returns them.

    Returns:
        A frame with a row for each finding, with the columns ``COLUMNS``.

    References:
        Butakov et al., ICLR 2024, arXiv:2305.08013, section 5.
    """
    rows: list[tuple] = []
    losses = {
        str(run): part.dropna(subset="loss").drop_duplicates("epoch").set_index("epoch")["loss"]
        for run, part in table.sort_values("epoch").groupby("run")
        if "loss" in table
    }
    phases = frame.phases(frame.smoothed(frame.convert(table[frame.columns(table)], "nats")))
    for (run, layer, estimator), part in phases.groupby(["run", "layer", "estimator"], sort=False):
        steps = ", ".join(
            f"{row.phase} {row.start}–{row.stop} ({row.change:+.2f})" for row in part.itertuples()
        )
        falls = part[part["phase"] == "compression"]
        rows.append((
            "phases of I(X;T): epochs, change [nats]", f"{run}, {estimator}", layer,
            "several phases of fitting and of compression",
            f"{len(part) - len(falls)} of fitting, {len(falls)} of compression: {steps}",
        ))  # fmt: skip
        loss = losses.get(str(run))
        if len(falls) and loss is not None and len(loss) > 2:
            first = falls.iloc[0]
            start, stop = fastest_fall(loss)
            meets = first["start"] < stop and start < first["stop"]
            rows.append((
                "first compression, and the fastest fall of the loss [epochs]",
                f"{run}, {estimator}", layer,
                "the first compression coincides with the fastest fall of the loss",
                f"{first['start']}–{first['stop']}; {start}–{stop}: "
                + ("they overlap" if meets else "they do not overlap"),
            ))  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


def fastest_fall(loss: pd.Series) -> tuple[int, int]:
    """Return the two consecutive epochs between which a loss falls fastest.

    Args:
        loss: the loss after each epoch, with the epochs as its index, at least two.
    """
    epochs = loss.index.to_numpy()
    at = int(np.argmax(-np.diff(loss.to_numpy()) / np.diff(epochs)))
    return int(epochs[at]), int(epochs[at + 1])


def reported(material: Material) -> Reported:
    """Return the findings, with estimates against the truth if that is known, else with curves."""
    table, joined = material.table, material.joined
    if TRUTH in joined:
        findings = known_information(joined)
        pictures = {"against_truth.png": plot.against_truth(joined)}
        section = Section(
            "Estimates against the truth",
            "Estimates from pairs of images whose information is exactly the value on the "
            "horizontal axis. On the line, an estimate equals the truth. Dotted lines are "
            "nearest-neighbour estimates from the few parameters of the images, which no "
            "compressor can be expected to exceed.",
            figures=pictures,
        )
        sections = [findings_section(findings), section]
        return Reported({"findings.csv": findings}, pictures, sections, single_runs=False)
    findings = lossy_compression(joined)
    smooth = frame.smoothed(table)
    curves = {
        name: plot.layer_curves(smooth, quantity=quantity, phases=True)
        for name, quantity in (("inputs.png", "I(X;T)"), ("labels.png", "I(T;Y)"))
        if quantity in set(table["quantity"])
    }
    tables = {"findings.csv": findings, "phases.csv": frame.phases(smooth)}
    return Reported(tables, {**plane(table), **curves}, [findings_section(findings)])
