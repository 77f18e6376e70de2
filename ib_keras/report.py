"""One page that shows a table of estimates, and how much of it to believe."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import os
import pathlib
import string
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ib_keras import _files, plot
from ib_keras import frame as frames
from ib_keras.errors import ArgumentError

FLAGS = {
    "saturated": "Within 1 % of the ceiling, ln n or H(X): at this scale every sample is alone, "
    "and the value says nothing about the network.",
    "measurement_bins": "The information of the binned T, not of T: for a deterministic network "
    "I(X;T) itself is H(X) or infinite. What is seen is how T clusters at the scale of the bins.",
    "measurement_noise": "The information of T plus noise that only the measurement adds: it "
    "depends on that noise's variance. What is seen is how T clusters at that scale.",
    "network_noise": "The network is noisy, and this estimator counts its noise as if it told of "
    "the input: the value is too high.",
    "clipped": "Values outside the range of the bins were counted in the end bins.",
    "high_dim": "Estimates from all samples and from half of them disagree: n is small for this "
    "dimension.",
    "no_channel": "The layer has no noise of its own: I(X;T) is H(X) or infinite for any.",
    "no_propagations": "The layer lies behind noise, and no inputs were propagated repeatedly to "
    "learn how random it is given X: it is wider than 512 values, or they were not asked for.",
    "no_noise": "The layer has no noise of its own: unless noise acts before it, I(X;T) is "
    "infinite, and the estimate is how much of that so many samples show.",
    "log_batch": "Near the logarithm of the batch, above which this bound cannot rise: a larger "
    "batch may raise it.",
    "no_critic": "There were too few samples to train a critic, or none was asked for: what is not "
    "Gaussian may be missed.",
    "negative": "Information cannot be negative: the estimator's bias is larger than what there is "
    "to find.",
    "unfinished": "The decoder was still improving when its epochs ended: it might say more of X.",
    "untrusted": "On samples like these of known information the estimator is off by more than the "
    "tolerance where this estimate lies: see calibrated_lower and calibrated_upper.",
    "ties": "Values repeat: the variable is discrete or saturated, and distances between "
    "neighbours resolve it badly.",
}

_PAGE = string.Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
img { max-width: 100%; height: auto; background: #fff; border-radius: 6px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid #8884; text-align: right; }
tbody th, .text td { text-align: left; vertical-align: top; }
h2 { margin-top: 2.2rem; }
</style>
</head>
<body>
<h1>$title</h1>
<p>$summary</p>
$runs
$sections
<h2>Last epoch</h2>
<div class="scroll">$table</div>
<h2>How much to believe</h2>
$trust
<h2>Made by</h2>
<div class="scroll text">$made_by</div>
</body>
</html>
""")


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a page.

    Args:
        title: its heading.
        text: a paragraph.
        table: a table of texts and numbers, or ``None``.
        figures: matplotlib figures by their descriptions.
    """

    title: str
    text: str = ""
    table: pd.DataFrame | None = None
    figures: Mapping[str, Any] = dataclasses.field(default_factory=dict)


_RUNS = string.Template("""<h2>Information plane</h2>
<p>Each marker is a layer at an epoch: to the right it keeps more of the input, higher up it tells
more of the label. Hollow markers are saturated and say nothing.</p>
<img src="data:image/png;base64,$plane" alt="Information plane: I(T;Y) against I(X;T)">
<h2>Over training</h2>
<img src="data:image/png;base64,$curves_x" alt="I(X;T) against the epoch, by layer">
<img src="data:image/png;base64,$curves_y" alt="I(T;Y) against the epoch, by layer">""")


def write(
    frame: pd.DataFrame,
    path: str | os.PathLike,
    *,
    title: str = "Information plane",
    sections: Sequence[Section] = (),
    single_runs: bool = True,
) -> pathlib.Path:
    """Writes one HTML page that needs nothing else: pictures, last epoch, what to believe.

    Args:
        frame: a table of estimates.
        path: the file to write.
        title: the page's title.
        sections: what a study has to show besides.
        single_runs: whether the plane and the curves of each run are drawn; of many runs the
            sections may say more.

    Returns:
        The path.

    Raises:
        ArgumentError: the table lacks columns or rows, or the folder does not exist.
    """
    path = pathlib.Path(path)
    if not path.parent.is_dir():
        raise ArgumentError("The page's folder does not exist", "a folder", str(path.parent))
    table = frames.validate(frame)
    runs = ""
    if single_runs:
        runs = _RUNS.substitute(
            plane=_png(plot.information_plane(table)),
            curves_x=_png(plot.layer_curves(table, quantity="I(X;T)")),
            curves_y=_png(plot.layer_curves(table, quantity="I(T;Y)")),
        )
    page = _PAGE.substitute(
        title=html.escape(title),
        summary=html.escape(_summary(table)),
        runs=runs,
        sections="".join(map(_section, sections)),
        table=last_epoch_table(table).to_html(float_format="{:.3f}".format, na_rep="–", border=0),
        trust=_trust(table),
        made_by=_table_of_text(_files.provenance()),
    )
    _files.write_file(path, lambda temporary: temporary.write_text(page, encoding="utf-8"))
    return path


def last_epoch_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Each run's last epoch: a row a layer, a column an estimator and quantity, in the unit given.

    Args:
        frame: a table of estimates.

    Returns:
        A frame with the index (run, layer) in the layers' order.
    """
    table = frames.validate(frame)
    last = table[table["epoch"] == table.groupby("run")["epoch"].transform("max")]
    wide = last.pivot_table(
        index=["run", "layer_index", "layer"],
        columns=["estimator", "quantity"],
        values="value",
        dropna=False,
        observed=True,
    ).dropna(how="all")
    pairs = [
        (e, q) for e in sorted(set(wide.columns.get_level_values(0))) for q in ("I(X;T)", "I(T;Y)")
    ]
    others = [c for c in wide.columns if c not in pairs]
    wide = wide[[c for c in (*pairs, *others) if c in wide.columns]]
    return wide.droplevel("layer_index")


def _summary(table: pd.DataFrame) -> str:
    epochs, n = sorted(table["epoch"].unique()), sorted(table["n"].unique())
    return (
        f"{_count(table['run'].nunique(), 'run')} ({_few(table['run'])}), "
        f"{_count(table['layer'].nunique(), 'layer')}, {_count(len(epochs), 'recorded epoch')} "
        f"({epochs[0]} to {epochs[-1]}), {_count(table['estimator'].nunique(), 'estimator')} "
        f"({', '.join(sorted(table['estimator'].unique()))}), "
        f"n = {' / '.join(map(str, n))} samples. Values in {table['unit'].iloc[0]}."
    )


def _few(names: pd.Series) -> str:
    known = sorted(names.unique())
    return ", ".join(known if len(known) <= 8 else [*known[:4], "…", known[-1]])


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _trust(table: pd.DataFrame) -> str:
    """What was flagged, where, and what it means."""
    flags = table[["estimator", "flags"]].assign(flag=table["flags"].str.split(",")).explode("flag")
    flags = flags[flags["flag"] != ""]
    parts = []
    total = table["estimator"].value_counts().to_dict()
    for flag, rows in flags.groupby("flag"):
        counts = rows["estimator"].value_counts().sort_index().to_dict()
        where = ", ".join(f"{e}: {count} of {total[e]}" for e, count in counts.items())
        text = f"({where}). {FLAGS.get(str(flag), '')}"
        parts.append(f"<li><b>{html.escape(str(flag))}</b> {html.escape(text)}</li>")
    clean = int((table["flags"] == "").sum())
    head = f"<p>{clean} of {len(table)} estimates carry no flag.</p>"
    kinds = set(table["kind"]) - {"estimate"}
    if kinds:
        named = sorted(table.loc[table["kind"] != "estimate", "estimator"].unique())
        head += (
            f"<p>I(X;T) by {html.escape(', '.join(named))} is a bound, on the side that the title "
            "of its panel says; the difference of two bounds, I(T;Y), is none.</p>"
        )
    return f"{head}<ul>{''.join(parts)}</ul>" if parts else head


def _table_of_text(content: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(str(k))}</td><td>{html.escape(str(v))}</td></tr>"
        for k, v in content.items()
    )
    return f"<table>{rows}</table>"


def _section(section: Section) -> str:
    parts = [f"<h2>{html.escape(section.title)}</h2>"]
    if section.text:
        parts.append(f"<p>{html.escape(section.text)}</p>")
    if section.table is not None:
        table = section.table.to_html(index=False, border=0, na_rep="–", justify="left")
        parts.append(f'<div class="scroll text">{table}</div>')
    for description, figure in section.figures.items():
        source = f"data:image/png;base64,{_png(figure)}"
        parts.append(f'<img src="{source}" alt="{html.escape(description)}">')
    return "".join(parts)


def _png(figure: Any) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return base64.b64encode(buffer.getvalue()).decode()
