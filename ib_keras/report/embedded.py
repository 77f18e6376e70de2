"""The parts of a report's page: the table as embedded data, its program, and Plotly."""

from __future__ import annotations

import base64
import functools
import html
import importlib.resources
import json
import math
from typing import Any

import numpy as np
import pandas as pd

from ib_keras import flags as flagging
from ib_keras import frame as frames

# The smallest of Plotly's own bundles that has what the page draws, as it is published on npm
# (plotly.js-basic-dist-min): a quarter of what the Python package brings, and three times as fast.
PLOTLY = "plotly-basic-4.1.1.min.js"
_HEADS = ("I(X;T)", "I(T;Y)")

CONTROLS = """<h2>Information plane</h2>
<p>Each marker is a layer at the chosen epoch: to the right it keeps more of the input, higher up it
tells more of the label. Its thin line is its way over training. <b>Hollow markers say nothing</b>
about the network, <b>pale ones are to be taken with care</b>: point at one to see why, and read
<a href="#believe">how much to believe</a>.</p>
<p id="loading" role="status">Drawing …</p>
<noscript><p>The pictures need JavaScript; the tables below do without.</p></noscript>
<div class="controls">
<label>Run <select id="run"></select></label>
<label>Estimator <select id="estimator"></select></label>
</div>
<div class="time">
<button id="play" type="button">▶ Play</button>
<input id="epoch" type="range" min="0" max="0" step="1" value="0" aria-label="Epoch">
<output id="shown" for="epoch">epoch</output>
</div>
<div id="plane" class="chart" role="group"
 aria-label="Information plane: I(T;Y) against I(X;T)"></div>
<fieldset><legend>Layers</legend><div id="layers"></div>
<div class="controls"><button id="every" type="button">All</button>
<button id="none" type="button">None</button></div></fieldset>
<details><summary>The same in numbers</summary><div class="scroll"><table id="now"><thead><tr>
<th scope="col">layer</th><th scope="col">I(X;T)</th><th scope="col">I(T;Y)</th>
<th scope="col">flags</th></tr></thead><tbody></tbody></table></div></details>
<h2>Over training</h2>
<div class="controls"><label>Quantity <select id="quantity"></select></label></div>
<div id="curves" class="chart" role="group"
 aria-label="The quantity against the epoch, by layer"></div>
<p class="note">Bars are one standard error. The dotted line is the epoch chosen above. A dashed
line says nothing at any epoch.</p>
"""


def data(table: pd.DataFrame, *, single_runs: bool) -> str:
    """The table and what the page's program must know of it, as JSON that is safe inside HTML.

    Args:
        table: of estimates, in one unit.
        single_runs: whether runs that differ in their seeds are offered beside their means.
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
    content = {
        "rows": len(table),
        "columns": [_column(str(name), table[name]) for name in table.columns],
        "unit": table["unit"].iloc[0],
        "views": views,
        "layers": list(dict.fromkeys(table.sort_values("layer_index", kind="stable")["layer"])),
        # Shown first: the one with the least to doubt.
        "estimators": sorted(
            dict.fromkeys(table["estimator"]),
            key=lambda name: _doubts(table[table["estimator"] == name]),
        ),
        "nothing": [f.name for f in flagging.FLAGS.values() if f.doubt == flagging.NOTHING],
        "quantities": sorted(quantities, key=lambda q: (q not in _HEADS, q != _HEADS[0])),
    }
    text = json.dumps(content, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return safe(text)


def safe(text: str) -> str:
    """JSON in which nothing can end a script element or begin a comment.

    Args:
        text: JSON.
    """
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def _column(name: str, values: pd.Series) -> dict[str, Any]:
    """A column: floats as their bytes, all others as codes into their different values."""
    if pd.api.types.is_float_dtype(values) and values.nunique(dropna=False) > 256:
        return {
            "name": name,
            "float": True,
            "floats": _base64(values.to_numpy("<f8", na_value=math.nan)),
        }
    codes, levels = pd.factorize(values, use_na_sentinel=False)
    width = 1 if len(levels) <= 1 << 8 else 2 if len(levels) <= 1 << 16 else 4
    named = [_level(level) for level in levels]
    real = pd.api.types.is_float_dtype(values)
    return {"name": name, "float": real, "width": width, "levels": named,
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
    """The text of a file of the page: its style, its program, or Plotly.

    Args:
        name: of the file.
    """
    return (importlib.resources.files("ib_keras.report") / "page" / name).read_text(
        encoding="utf-8"
    )


def last_epoch(wide: pd.DataFrame, flagged: pd.DataFrame) -> str:
    """The last epoch's table as HTML, flagged values marked.

    Args:
        wide: ``report.last_epoch_table``.
        flagged: of the same shape, the flags.
    """
    columns: list[Any] = list(wide.columns)
    several = wide.index.get_level_values("run").nunique() > 1
    heads = "".join(f"<th scope=col>{html.escape(f'{q} {e}')}</th>" for e, q in columns)
    rows = []
    flags_of = flagged.reindex(index=wide.index, columns=wide.columns).to_numpy(object)
    runs = wide.index.get_level_values("run").astype(str)
    layers = wide.index.get_level_values("layer").astype(str)
    for i in range(len(wide)):
        run, layer = runs[i], layers[i]
        name = f"{run} · {layer}" if several else layer
        cells = []
        for value, flags in zip(wide.to_numpy()[i], flags_of[i], strict=True):
            text = "–" if not math.isfinite(value) else f"{value:.3f}"
            if isinstance(flags, str) and flags:
                text = f'<span class="flag" title="{html.escape(flags)}">{text} ⚑</span>'
            cells.append(f"<td>{text}</td>")
        rows.append(f"<tr><th scope=row>{html.escape(name)}</th>{''.join(cells)}</tr>")
    return (
        f"<table><thead><tr><th scope=col>layer</th>{heads}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _doubts(own: pd.DataFrame) -> tuple[bool, float, float]:
    """How little an estimator has for a plane: both quantities or not, and how much to doubt."""
    both = {"I(X;T)", "I(T;Y)"} <= set(own.loc[np.isfinite(own["value"]), "quantity"])
    doubts = own["flags"].map(flagging.doubt)
    return not both, float((doubts == flagging.NOTHING).mean()), float((doubts > 0).mean())
