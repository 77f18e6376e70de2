"""An HTML page that shows a table of estimates, and how far to believe it."""

from __future__ import annotations

import base64
import dataclasses
import html
import io
import os
import pathlib
import re
import string
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ib_keras import flags as flagging
from ib_keras import frame as frames
from ib_keras.errors import ArgumentError
from ib_keras.frame import provenance, verdict
from ib_keras.frame.table import measured, one_unit, target_quantities
from ib_keras.report import embedded
from ib_keras.storage import atomic, manifests

FLAGS = {flag.name: flag.says for flag in flagging.FLAGS.values()}
# If a table has more rows, the page has only the means over seeds.
_ROWS = 500_000
ADVICE = {flag.name: flag.do for flag in flagging.FLAGS.values()}

_PAGE = string.Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data: blob:; \
style-src 'unsafe-inline'; script-src 'unsafe-inline'">
<link rel="icon" href="data:,">
<title>$title</title>
<style>
$css</style>
</head>
<body>
<header>
<h1>$title</h1>
<p class="facts">$summary</p>
</header>
<main>
<section class="short">
<h2>Summary</h2>
$verdict
</section>
$runs
$sections
<h2>Last epoch</h2>
<p class="note">In $unit.$marks</p>
$table
<p class="controls"><button id="all-csv" type="button">All estimates as CSV</button>
<button id="last-csv" type="button">Last epoch as CSV</button></p>
<h2 id="believe">How much to believe</h2>
$trust
<h2>Settings</h2>
<div class="scroll text">$settings</div>
<h2>Provenance</h2>
<div class="scroll text">$made_by</div>
</main>
<script type="application/json" id="data">$data</script>
<script>$plotly</script>
<script>
$js</script>
</body>
</html>
""")


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of a page.

    Args:
        title: heading of the section.
        text: a paragraph.
        table: a table of texts and numbers, or ``None``.
        figures: matplotlib figures by their descriptions.
    """

    title: str
    text: str = ""
    table: pd.DataFrame | None = None
    figures: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def write(
    frame: pd.DataFrame,
    path: str | os.PathLike,
    *,
    title: str = "Information plane",
    sections: Sequence[Section] = (),
    single_runs: bool = True,
) -> pathlib.Path:
    """Write a self-contained HTML page that loads nothing from the network.

    The page says in plain words which layers compress and whether to believe it. It has an
    interactive information plane and curves, the values of the last epoch, the flags and what to do
    about them, the settings, and the whole table as CSV. Plotly is embedded and takes 1.2 MB; the
    table takes about 50 bytes per row. If the table has more than half a million rows, the curves
    and the CSV have only the means over runs that differ in their seeds.

    Args:
        frame: a table of estimates; its ``attrs`` are shown as provenance.
        path: the file to write.
        title: title of the page.
        sections: additional sections, such as those of a study.
        single_runs: whether runs that differ in their seeds can be selected besides their mean.

    Returns:
        The path.

    Raises:
        ArgumentError: If the table lacks columns or rows, or mixes units, or the folder does not
            exist.
    """
    path = pathlib.Path(path)
    if not path.parent.is_dir():
        raise ArgumentError(
            "The page's folder does not exist", "an existing folder", str(path.parent)
        )
    table = frames.validate(frame)
    if table.empty:
        raise ArgumentError("The table is empty", "rows of estimates", "0 rows")
    sections, selected = list(sections), table
    if len(table) > _ROWS:
        selected = frames.over_seeds(table)
        text = (
            f"The table has {len(table):,} rows. The curves and the exported CSV of this page have "
            "the means over runs that differ in their seeds, with the standard deviation over "
            "these runs as stderr."
        )
        sections.append(Section("Means over seeds", text))
    unit = one_unit(table)
    wide = last_epoch_table(table)
    flags = _last_epoch(table, "flags", "first").reindex(index=wide.index, columns=wide.columns)
    page = _PAGE.substitute(
        title=html.escape(title),
        css=embedded.file("report.css"),
        summary=html.escape(_summary(table)),
        verdict=_verdicts(table),
        runs=embedded.CONTROLS,
        sections="".join(map(_section, sections)),
        unit=html.escape(unit),
        marks="".join(f" {html.escape(line)}." for line in _key_to_marks(flags)),
        table=embedded.last_epoch(wide, flags),
        trust=_trust(table),
        settings=_table_of_text(_settings(table)),
        made_by=_table_of_text(_made_by(table)),
        data=embedded.data(selected, single_runs=single_runs),
        plotly=embedded.file(embedded.PLOTLY),
        js=embedded.file("report.js"),
    )
    atomic.write_file(path, lambda temporary: temporary.write_text(page, encoding="utf-8"))
    return path


def last_epoch_table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the values of each run's last epoch.

    Args:
        frame: a table of estimates.

    Returns:
        A frame with a row for each run and layer (its index), in the order of the layers, and a
        column for each estimator and quantity. Values are in the unit of the table.
    """
    wide = _last_epoch(frames.validate(frame), "value", "mean").dropna(how="all")
    estimators = sorted(set(wide.columns.get_level_values(0)))
    heads = ("I(X;T)", *target_quantities(frame))
    pairs = [(e, q) for e in estimators for q in heads if (e, q) in wide.columns]
    return wide[[*pairs, *(c for c in wide.columns if c not in pairs)]]


def last_epoch_text(frame: pd.DataFrame) -> str:
    """Return ``last_epoch_table`` as text, with marks on doubtful values and a key to the marks.

    Args:
        frame: a table of estimates.
    """
    table = frames.validate(frame)
    wide = last_epoch_table(table)
    if wide.empty:
        return "No value could be estimated; the column details has the reasons."
    flags = _last_epoch(table, "flags", "first").reindex(index=wide.index, columns=wide.columns)
    marks = flags.map(lambda own: flagging.MARKS[flagging.doubt(own)] if own == own else "")
    shown = wide.map(lambda value: "–" if value != value else f"{value:.3f}") + marks
    return "\n".join([shown.to_string(), *_key_to_marks(flags)])


def _key_to_marks(flags: pd.DataFrame) -> list[str]:
    """Return a line for each mark that occurs: the mark, its meaning, and the flags behind it."""
    named = [flagging.split(str(own)) for own in flags.stack(level=[0, 1]).dropna()]
    lines = []
    for doubt in (flagging.NOTHING, flagging.CARE):
        names = sorted({f for own in named for f in own if flagging.doubt((f,)) == doubt})
        if names:
            mark, meaning = flagging.MARKS[doubt], flagging.MEANINGS[doubt]
            lines.append(f"{mark} {meaning}: {', '.join(names)}")
    return lines


def _last_epoch(table: pd.DataFrame, column: str, choose: str) -> pd.DataFrame:
    last = table[table["epoch"] == table.groupby("run")["epoch"].transform("max")]
    wide = last.pivot_table(
        index=["run", "layer_index", "layer"],
        columns=["estimator", "quantity"],
        values=column,
        aggfunc=choose,  # type: ignore[arg-type]
        dropna=False,
        observed=True,
    )
    return wide[wide.index.isin(pd.MultiIndex.from_frame(last[wide.index.names]))].droplevel(
        "layer_index"
    )


def _summary(table: pd.DataFrame) -> str:
    epochs, n = sorted(table["epoch"].unique()), sorted(table["n"].unique())
    return (
        f"{_count(table['run'].nunique(), 'run')} ({verdict.few(sorted(table['run'].unique()))}), "
        f"{_count(table['layer'].nunique(), 'layer')}, {_count(len(epochs), 'recorded epoch')} "
        f"({epochs[0]} to {epochs[-1]}), {_count(table['estimator'].nunique(), 'estimator')} "
        f"({', '.join(sorted(table['estimator'].unique()))}), "
        f"n = {' / '.join(map(str, n))} samples. Values in {table['unit'].iloc[0]}."
    )


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _verdicts(table: pd.DataFrame) -> str:
    """Return which layers compress, and whether to believe it, in plain words."""
    about = (
        '<p class="note">A layer compresses if its information about the input, I(X;T), is lower '
        "at the end of training than earlier.</p>"
    )
    saturation = html.escape(verdict.saturation(table))
    first = f'<p class="which">{saturation}</p>' if saturation else ""
    verdicts = verdict.verdicts(table)
    if not verdicts:
        return (
            f"{first}<p>No verdict on compression is possible, because it needs finite values of "
            f"I(X;T) at two or more epochs.</p>{about}"
        )
    sentences = verdict.headline(verdicts)
    parts = [
        f'<p class="which">{html.escape(which)}</p><p class="belief">{html.escape(belief)}</p>'
        for which, belief in sentences[:8]
    ]
    if len(sentences) > 8:
        parts.append(f"<p>… and {len(sentences) - 8} more below.</p>")
    groups = len({v.group for v in verdicts}) > 1
    rows = []
    for v in verdicts:
        texts = (f"{v.group} · {v.layer}" if groups else v.layer, v.claim, v.curve or "–")
        belief = f'<b class="{v.belief.replace(" ", "-")}">{v.belief}</b>'
        rows.append([*map(html.escape, texts), f"{belief}: {html.escape('; '.join(v.why))}"])
    shown = " open" if len(rows) <= 8 else ""
    layers = embedded.html_table(["layer", "verdict", "I(X;T)", "believe it?"], rows)
    return (
        f"{first}{''.join(parts)}{about}<details{shown}><summary>Layer by layer</summary>"
        f'<div class="scroll text cards">{layers}</div></details>'
    )


def _trust(table: pd.DataFrame) -> str:
    """Return the flags of a table: where they occur, their meaning, and what to do about them."""
    columns = ["estimator", "layer", "flags"]
    flags = table[columns].assign(flag=table["flags"].str.split(",")).explode("flag")
    flags = flags[flags["flag"] != ""]
    parts = []
    total = table["estimator"].value_counts().to_dict()
    layers = table["layer"].nunique()
    for flag, rows in flags.groupby("flag"):
        counts = rows["estimator"].value_counts().sort_index().to_dict()
        where = ", ".join(f"{e}: {count} of {total[e]}" for e, count in counts.items())
        text = f"({where}). {FLAGS.get(str(flag), 'This flag has no description.')}"
        names = list(dict.fromkeys(rows["layer"]))
        if len(names) < layers:
            text += f" Flagged layers: {verdict.few(names)}."
        advice = re.sub("`([^`]*)`", r"<code>\1</code>", html.escape(ADVICE.get(str(flag), "")))
        more = f'<span class="do">What to do: {advice}</span>' if advice else ""
        parts.append(f"<li><b>{html.escape(str(flag))}</b> {html.escape(text)}{more}</li>")
    clean = int((table["flags"] == "").sum())
    head = f"<p>{clean} of {len(table)} estimates have no flag.</p>"
    lost = frames.count_not_estimated(table)
    if lost:
        head += (
            f"<p><b>{lost} of {len(table)} values could not be estimated.</b> The column "
            "<code>details</code> of the table has the reason for each.</p>"
        )
    bounds = _bounds(table)
    if bounds:
        head += f"<p>{html.escape(bounds)}</p>"
    return f'{head}<ul class="trust">{"".join(parts)}</ul>' if parts else head


def _bounds(table: pd.DataFrame) -> str:
    """Say which quantities of which estimators are bounds; empty if there are none."""
    finite = table[np.isfinite(table["value"])]
    bounds = finite[finite["kind"] != "estimate"]
    if bounds.empty:
        return ""
    names: dict[tuple[str, str, str, bool], list[str]] = {}
    for (estimator, quantity), own in finite.groupby(["estimator", "quantity"]):
        kinds = set(own["kind"])
        for kind in sorted(kinds - {"estimate"}):
            of = measured(quantity.removesuffix(f" {kind}"), own["flags"])
            key = (quantity, kind, of, len(kinds) > 1)
            names.setdefault(key, []).append(str(estimator))
    order = list(dict.fromkeys(table["quantity"]))
    sentences = [
        f"{quantity} by {', '.join(by)} is {'an' if kind == 'upper' else 'a'} {kind} bound"
        f"{'' if of == quantity else f' on {of}'}"
        f"{' where the column kind says so' if mixed else ''}."
        for (quantity, kind, of, mixed), by in sorted(
            names.items(), key=lambda item: (order.index(item[0][0]), item[0][1:])
        )
    ]
    if any("+N" in of for _, _, of, _ in names):
        sentences.append("N is the noise that the measurement adds.")
    if len(bounds) < len(finite):
        sentences.append("All other values are estimates and not bounds.")
    return " ".join(sentences)


def _settings(table: pd.DataFrame) -> dict[str, Any]:
    """Return the settings of the estimates that can be read from the table."""
    noise = table.drop_duplicates(["layer", "noise_std"])
    same = noise["noise_std"].nunique() == 1
    noise = noise[noise["noise_std"] > 0]
    levels = [f"{a}: {s:g}" for a, s in zip(noise["layer"], noise["noise_std"], strict=True)]
    dims = table.drop_duplicates(["layer", "dim"]).sort_values("layer_index", kind="stable")
    return {
        "unit": table["unit"].iloc[0],
        "samples": " / ".join(map(str, sorted(table["n"].unique()))),
        "epochs": verdict.few([str(e) for e in sorted(table["epoch"].unique())], 16),
        "estimators": ", ".join(dict.fromkeys(table["estimator"])),
        "layers (dimension)": verdict.few(
            [f"{a} ({d})" for a, d in zip(dims["layer"], dims["dim"], strict=True)], 24
        ),
        "noise of the network": f"{noise['noise_std'].iloc[0]:g} in every layer"
        if same and levels
        else verdict.few(levels, 12) or "none added",
        "seconds of estimation": f"{table[table['quantity'] == 'I(X;T)']['seconds'].sum():.1f}",
    }


def _made_by(table: pd.DataFrame) -> dict[str, Any]:
    """Return the provenance of the table, and that of the page if it differs."""
    content: dict[str, Any] = {}

    def add(name: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, part in value.items():
                add(f"{name}: {key}" if name else str(key), part)
        else:
            content[name] = ", ".join(map(str, value)) if isinstance(value, list) else value

    for name, value in table.attrs.items():
        add("" if name == provenance.KEY else str(name), value)
    page = manifests.provenance()
    if (table.attrs.get(provenance.KEY) or {}).get("versions") != page:
        add("this page", page)
    return content


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
