"""The parts of a report: the embedded data, the page's script and style, Plotly, and tables."""

from __future__ import annotations

import base64
import functools
import html
import importlib.resources
import json
import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from ib_keras import flags as flagging
from ib_keras import frame as frames
from ib_keras.frame.table import has_unit, target_name, target_quantities, target_quantity

# The smallest of Plotly's bundles that the page can use, as published on npm
# (plotly.js-basic-dist-min): a quarter of the size in the Python package, and three times as fast.
PLOTLY = "plotly-basic-4.1.1.min.js"
_INPUT = "I(X;T)"
# Longer tables of the last epoch are folded.
_OPEN_ROWS = 40


def _saving(chart: str) -> str:
    """Return the buttons that save a chart."""
    buttons = "".join(
        f'<button type="button" class="save" data-chart="{chart}" data-format="{form}">'
        f"{form.upper()}</button>"
        for form in ("png", "svg")
    )
    return f'<div class="controls saving"><span>Save as</span>{buttons}</div>'


CONTROLS = f"""<h2>Information plane</h2>
<p>Each marker is a layer at the selected epoch. Layers further to the right have more information
about the input, and layers further up more information about the target. The thin line is the path
of a layer during training. <b>Hollow markers say nothing</b> about the network, and <b>pale markers
must be interpreted with care</b>: point at a marker to see the reason, and read
<a href="#believe">how much to believe</a>.</p>
<p id="loading" role="status">Drawing …</p>
<noscript><p>The charts need JavaScript; the tables below do not.</p></noscript>
<div class="controls">
<label>Run <select id="run"></select></label>
<label>Estimator <select id="estimator"></select></label>
<label id="targets">Target <select id="target"></select></label>
</div>
<div class="time">
<button id="play" type="button">▶ Play</button>
<input id="epoch" type="range" min="0" max="0" step="1" value="0" aria-label="Epoch">
<output id="shown" for="epoch">epoch</output>
</div>
<p id="chosen" class="on-paper"></p>
<div id="plane" class="chart" role="group"
 aria-label="Information plane: I(T;Y) against I(X;T)"></div>
{_saving("plane")}
<fieldset><legend>Layers</legend>
<div class="controls" id="finding"><label>Find <input id="find" type="search"
 placeholder="part of a name" autocomplete="off"></label>
<span id="count" role="status"></span></div>
<div id="layers"></div>
<div class="controls"><button id="every" type="button">All</button>
<button id="none" type="button">None</button>
<button id="some" type="button">Some of each depth</button></div></fieldset>
<details><summary>Values as a table</summary><div class="scroll"><table id="now"><thead><tr>
<th scope="col">layer</th><th scope="col">I(X;T)</th><th scope="col" id="relevant"></th>
<th scope="col">flags</th></tr></thead><tbody></tbody></table></div></details>
<h2>During training</h2>
<div class="controls"><label>Quantity <select id="quantity"></select></label></div>
<div id="curves" class="chart" role="group"
 aria-label="The quantity against the epoch, by layer"></div>
{_saving("curves")}
<p class="note">Error bars are one standard error: of the estimate for a single run, and of the
mean for a mean over runs. The dotted line marks the epoch selected above. A
dashed line has only hollow markers.</p>
<div id="deep">
<h2>By depth</h2>
<div id="depth" class="chart" role="group" aria-label="The quantity against the layer"></div>
{_saving("depth")}
<p class="note">All layers at the epoch selected above; the thin line is the first epoch.</p>
</div>
"""


def data(table: pd.DataFrame, *, single_runs: bool) -> str:
    """Return the table and the options of the page's controls, as JSON that is safe inside HTML.

    Args:
        table: a table of estimates, in one unit.
        single_runs: whether runs that differ in their seeds can be selected besides their mean.
    """
    groups: dict[str, list[str]] = {}
    for run, group in frames.seed_groups(table["run"]).items():
        groups.setdefault(group, []).append(run)
    several = {name: runs for name, runs in groups.items() if len(runs) > 1}
    views = [{"name": f"{name}: mean of {len(runs)} runs", "runs": runs}
             for name, runs in several.items()]  # fmt: skip
    runs = [run for runs in groups.values() for run in runs if single_runs or len(runs) == 1]
    views += [{"name": run, "runs": [run]} for run in runs]
    quantities = list(dict.fromkeys(table["quantity"]))
    targets = target_quantities(table)
    heads = [_INPUT, *targets]
    content = {
        "rows": len(table),
        "columns": [_column(str(name), table[name]) for name in table.columns],
        "units": {q: table["unit"].iloc[0] if has_unit(q) else "" for q in quantities},
        "views": views,
        "layers": list(dict.fromkeys(table.sort_values("layer_index", kind="stable")["layer"])),
        # The estimator with the least doubtful values is shown first.
        "estimators": sorted(
            dict.fromkeys(table["estimator"]),
            key=lambda name: _doubts(table[table["estimator"] == name]),
        ),
        "nothing": [f.name for f in flagging.FLAGS.values() if f.doubt == flagging.NOTHING],
        "quantities": [
            *(q for q in heads if q in quantities),
            *(q for q in quantities if q not in heads),
        ],
        "targets": [{"quantity": q, "name": target_name(q) or q} for q in targets],
    }
    text = json.dumps(content, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return safe(text)


def safe(text: str) -> str:
    """Escape JSON so that it cannot end a script element or start a comment.

    Args:
        text: the JSON.
    """
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _column(name: str, values: pd.Series) -> dict[str, Any]:
    """Encode a column: many floats as bytes, other values as codes of the unique ones."""
    real = pd.api.types.is_float_dtype(values)
    if real and values.nunique(dropna=False) > 256:
        floats = _base64(values.to_numpy("<f8", na_value=math.nan))
        return {"name": name, "float": True, "floats": floats}
    codes, levels = pd.factorize(values, use_na_sentinel=False)
    width = 1 if len(levels) <= 1 << 8 else 2 if len(levels) <= 1 << 16 else 4
    return {"name": name, "float": real, "width": width, "levels": list(map(_level, levels)),
            "codes": _base64(codes.astype(f"<u{width}"))}  # fmt: skip


def _level(value: Any) -> Any:
    if pd.api.types.is_scalar(value) and pd.isna(value):
        return None
    if isinstance(value, (bool, np.bool_)):
        return bool(value)
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else "inf" if value > 0 else "-inf"
    return str(value)


def _base64(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()


@functools.cache
def file(name: str) -> str:
    """Return the text of a file of the page: its style, its script, or Plotly.

    Args:
        name: name of the file.
    """
    folder = importlib.resources.files("ib_keras.report") / "page"
    return (folder / name).read_text(encoding="utf-8")


def last_epoch(wide: pd.DataFrame, flags: pd.DataFrame) -> str:
    """Return the table of the last epoch as HTML, with marked flags; a long one is folded.

    Args:
        wide: the result of ``report.last_epoch_table``.
        flags: the flags of the same values.
    """
    several = wide.index.get_level_values("run").nunique() > 1
    names = [f"{run} · {layer}" if several else str(layer) for run, layer in wide.index]
    rows = [
        [html.escape(name), *map(_cell, values, own)]
        for name, values, own in zip(names, wide.to_numpy(), flags.to_numpy(object), strict=True)
    ]
    columns: list[Any] = list(wide.columns)
    heads = ["layer", *(f"{quantity} {estimator}" for estimator, quantity in columns)]
    table = f'<div class="scroll">{html_table(heads, rows)}</div>'
    if len(rows) <= _OPEN_ROWS:
        return table
    return f"<details><summary>{len(rows)} rows</summary>{table}</details>"


def _cell(value: float, flags: Any) -> str:
    text = f"{value:.3f}" if math.isfinite(value) else "–"
    if isinstance(flags, str) and flags:
        mark = flagging.MARKS[flagging.doubt(flags)]
        return f'<span class="flag" title="{html.escape(flags)}">{text} {mark}</span>'
    return text


def html_table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table as HTML.

    Args:
        heads: texts of the column headings.
        rows: cells as HTML; the first cell of each row is its heading.
    """
    head = "".join(f"<th scope=col>{html.escape(text)}</th>" for text in heads)
    body = "".join(
        f"<tr><th scope=row>{name}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"
        for name, *cells in rows
    )
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _doubts(own: pd.DataFrame) -> tuple[bool, float, float]:
    """Return whether a quantity of the plane is missing, and the fractions of doubtful values."""
    both = {_INPUT, target_quantity(own)} <= set(own.loc[np.isfinite(own["value"]), "quantity"])
    doubts = own["flags"].map(flagging.doubt)
    return (
        not both,
        float((doubts == flagging.NOTHING).mean()),
        float((doubts != flagging.NONE).mean()),
    )
