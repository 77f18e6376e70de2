"""Verdicts in plain words: which layers compress, and whether to believe it.

A layer compresses if I(X;T) ends below an earlier value by more than 5 % of its maximum, by more
than 0.01 nats or bits, and by more than chance explains, given the standard errors, the seeds, and
the numbers of epochs, layers and estimators compared. The test is that of ``falls``, at a
false-discovery rate of 5 %. Curves with a flag of doubt ``NOTHING`` at the maximum or the end are
ignored, but a saturated maximum is allowed. Curves of layers that are constant at the end are
ignored as well.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ib_keras import flags as flagging
from ib_keras import frame as frames
from ib_keras.frame.falls import LEVEL, adjusted, p_of_curve, p_of_runs

# The smallest fall that counts, as a fraction of the maximum and in the unit of the table; and the
# number of standard errors: a curve is flat if its fall plus this number of errors is smaller.
SHARE, LEAST, ERRORS = 0.05, 0.01, 2.0
YES, CARE, NO = "yes", "with care", "no"
COMPRESSES, KEEPS, OPEN, DISPUTED, UNKNOWN = (
    "compresses", "shows no compression", "may compress", "estimates disagree",
    "cannot be determined",
)  # fmt: skip
# A curve rises again if it has recovered more than this share of its fall by the end.
_RECOVERED = 0.25
_KEY = ["run", "layer", "layer_index", "estimator"]
_split = flagging.split


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The verdict on one layer.

    Args:
        group: name of the run, or of the runs that differ only in their seeds.
        layer: name of the layer.
        what: ``COMPRESSES``, ``KEEPS``, ``OPEN``, ``DISPUTED`` or ``UNKNOWN``.
        belief: whether to believe the verdict: ``YES``, ``CARE`` or ``NO``.
        curve: the maximum and the end of I(X;T), and the estimator, as text.
        why: the reasons for the belief, as clauses.
        runs: number of runs on which the verdict is based.
        all_runs: number of runs of the group, including those that are left out because of flags.
        p: p-value of the fall, adjusted for the tests of all layers and estimators.
        tests: number of these tests.
        tested: whether the error of the fall is known, from standard errors or several runs.
    """

    group: str
    layer: str
    what: str
    belief: str
    curve: str
    why: tuple[str, ...]
    runs: int
    all_runs: int
    p: float = math.nan
    tests: int = 0
    tested: bool = False

    @property
    def claim(self) -> str:
        """The verdict in words, with its p-value."""
        if self.what != COMPRESSES:
            return self.what
        seen = "" if self.tested else ", seen in one run"
        p = "p < 0.001" if self.p < 1e-3 else f"p = {self.p:.2g}"
        return f"{self.what}{seen} ({p}, adjusted for {_tests_of(self.tests)})"


def verdicts(frame: pd.DataFrame) -> list[Verdict]:
    """Return the verdicts on all layers, for each group of runs that differ only in their seeds.

    Args:
        frame: a table of estimates in one unit.

    Returns:
        The verdicts, ordered by group and layer; empty if the table has no I(X;T), or only one
        epoch.

    Raises:
        ArgumentError: If the table lacks columns.
    """
    table = frames.validate(frame)
    table = table[table["quantity"] == "I(X;T)"]
    if table.empty or table["epoch"].nunique() < 2:
        return []
    names = frames.seed_groups(table["run"])
    curves = _curves(table)
    tests = _tests(table, curves, names)
    unit, key = str(table["unit"].iloc[0]), ["group", "layer"]
    table, curves = (one.assign(group=one["run"].map(names)) for one in (table, curves))
    own, tested = (dict(list(one.groupby(key, sort=False))) for one in (curves, tests))
    flags = dict(list(table.groupby(key, sort=False)["flags"]))
    order = {group: i for i, group in enumerate(dict.fromkeys(names.values()))}
    places = table.sort_values("layer_index").drop_duplicates(key)[key]
    return [
        _verdict(
            str(place[0]), str(place[1]), own.get(place, curves[:0]), tested.get(place, tests[:0]),
            len(tests), flags[place], unit,
        )
        for place in sorted(places.itertuples(index=False, name=None), key=lambda p: order[p[0]])
    ]  # fmt: skip


def _curves(table: pd.DataFrame) -> pd.DataFrame:
    """Return ``frame.compression`` with the flags at the maximum and the end of each curve."""
    finite = table[np.isfinite(table["value"])]
    if finite.empty:
        return pd.DataFrame(columns=[*_KEY, "nothing", "care"])
    curves = frames.compression(finite)
    # The last recorded epoch; if its value is not finite, the end of the curve is unknown.
    ends = table.groupby(_KEY, sort=False)["epoch"].max().rename("last").reset_index()
    curves = curves.merge(ends, on=_KEY)
    flags = table.drop_duplicates([*_KEY, "epoch"])[[*_KEY, "epoch", "flags", "value"]]
    flags["flags"] = flags["flags"].where(np.isfinite(flags.pop("value")), frames.NOT_ESTIMATED)
    for end, name in (("turn", "flags_turn"), ("last", "flags_end")):
        renamed = flags.rename(columns={"epoch": end, "flags": name})
        curves = curves.merge(renamed, on=[*_KEY, end], how="left")
    both = [
        (_split(turn), _split(last))
        for turn, last in zip(curves["flags_turn"], curves["flags_end"], strict=True)
    ]
    # If only the maximum is at the ceiling, the fall is real, and may be larger.
    curves["nothing"] = [
        (
            *(f for f in _nothing((*a, *b)) if f != "saturated" or f in b),
            *(f for f in b if f == "constant"),
        )
        for a, b in both
    ]
    curves["care"] = [
        tuple(f for f in dict.fromkeys((*a, *b)) if f not in _nothing((f,)) or f == "saturated")
        for a, b in both
    ]
    return curves


def _nothing(flags: Sequence[str]) -> list[str]:
    """Return the flags of doubt ``NOTHING``, without duplicates."""
    return [f for f in dict.fromkeys(flags) if flagging.doubt((f,)) == flagging.NOTHING]


def _tests(table: pd.DataFrame, curves: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    """Test for each group of runs, layer and estimator whether the curves fall.

    The column ``falls`` says whether a fall is claimed, and ``flat`` whether the fall, plus its
    error, is too small to count. Both are false if the error leaves the question open. ``rise`` is
    a clause if the mean curve rises again after its lowest value, and otherwise empty.
    """
    columns = ["group", "layer", "estimator", "p", "tested", "large", "flat", "rise"]
    usable = curves[curves["nothing"].map(len) == 0]
    if usable.empty:
        return pd.DataFrame(columns=[*columns, "q", "falls"])
    finite = table[np.isfinite(table["value"])].drop_duplicates([*_KEY, "epoch"])
    wide = finite.set_index([*_KEY, "epoch"])[["value", "stderr"]].astype(float).unstack("epoch")
    wide = wide.sort_index(axis=1)
    values, stderrs = wide["value"].to_numpy(), wide["stderr"].to_numpy()
    epochs = wide["value"].columns.to_numpy()
    places = {key: i for i, key in enumerate(wide.index)}
    counts = finite.groupby(_KEY)["n"].max()
    n, unit = counts.reindex(wide.index).to_numpy(), str(table["unit"].iloc[0])
    groups: dict[tuple[str, str, str], list[int]] = {}
    measures = usable[["absolute", "maximum", "stderr"]].to_numpy(float)
    keys = list(usable[_KEY].itertuples(index=False, name=None))
    for i, key in enumerate(keys):
        groups.setdefault((names[key[0]], key[1], key[3]), []).append(i)
    rows = []
    for group, own in groups.items():
        cells = [places[keys[i]] for i in own]
        each = [p_of_curve(values[c], stderrs[c], int(n[c]), unit) for c in cells]
        fall, maximum, error = measures[own].mean(axis=0)
        known = np.isfinite(values[cells])
        if len(own) > 1:
            p, tested = p_of_runs(values[cells], each), True
            error = float(measures[own, 0].std(ddof=1)) / math.sqrt(len(own))
        else:
            p, tested = each[0], bool(np.isfinite(stderrs[cells][known]).all())
        error = ERRORS * error if math.isfinite(error) else 0.0
        least = max(SHARE * abs(maximum), LEAST)
        rise = _rise(values[cells], epochs, max(error, LEAST))
        rows.append((*group, p, tested, fall > least, fall + error <= least, rise))
    tests = pd.DataFrame(rows, columns=columns)
    tests["q"] = adjusted(tests["p"].to_numpy(float))
    tests["falls"] = tests["large"].astype(bool) & (tests["q"] <= LEVEL)
    return tests


def _rise(values: np.ndarray, epochs: np.ndarray, error: float) -> str:
    """Describe a rise of the mean curve after the lowest value that follows its maximum.

    Args:
        values: curves ``(runs, epochs)``, with NaN where a run has no value.
        epochs: the epochs.
        error: only a larger rise is described.

    Returns:
        A clause; empty if the curve does not rise.
    """
    known = np.isfinite(values).all(axis=0)
    curve, epochs = values[:, known].mean(axis=0), epochs[known]
    if len(curve) < 3:
        return ""
    top = int(curve.argmax())
    low = top + int(curve[top:].argmin())
    jumps = float(np.median(np.abs(np.diff(curve))))
    rise = float(curve[-1] - curve[low])
    if rise <= max(_RECOVERED * (curve[top] - curve[low]), error, ERRORS * jumps):
        return ""
    return f"it rises again after its lowest value, {curve[low]:.2f} at epoch {epochs[low]}"


def _verdict(
    group: str,
    layer: str,
    curves: pd.DataFrame,
    tests: pd.DataFrame,
    count: int,
    flags: pd.Series,
    unit: str,
) -> Verdict:
    usable = curves[curves["nothing"].map(len) == 0]
    runs = curves["run"].nunique()
    if usable.empty:
        unusable = dict.fromkeys([*_nothing(_all(flags.map(_split))), *_all(curves["nothing"])])
        reasons = [flagging.reason(f) for f in unusable]
        reasons = reasons or ["there are no finite values"]
        return Verdict(group, layer, UNKNOWN, NO, "", tuple(reasons), runs, runs)
    # The verdict quotes the estimator with the fewest flags.
    doubts = usable.groupby("estimator", sort=False)["care"].agg(lambda c: max(map(len, c)))
    best = str(doubts.idxmin())
    own = usable[usable["estimator"] == best]
    by = tests.set_index("estimator")
    falls, flat = by["falls"].astype(bool), by["flat"].astype(bool)
    what = DISPUTED if falls.any() and flat.any() else COMPRESSES if falls.any() else KEEPS
    if falls.any() and not falls[best]:  # the least flagged estimator that finds a fall
        best = str(doubts[falls[falls].index].idxmin())
        own = usable[usable["estimator"] == best]
    if what == KEEPS and not flat[best]:
        what = OPEN
    why: list[str] = []
    if what == DISPUTED:
        told = by.index[falls | flat]
        sides = (f"{name} finds a fall" if falls[name] else f"{name} does not" for name in told)
        why.append("; ".join(sides))
    elif what == OPEN:
        why.append(f"errors and the number of comparisons leave it open whether {layer} falls")
    rise = str(by["rise"][best]) if what == COMPRESSES else ""
    why += [rise] if rise else []
    care = _all(own["care"])
    ceiling = "the maximum is at its ceiling, so the fall may be larger"
    why += [ceiling if flag == "saturated" else flagging.reason(flag) for flag in care]
    tested = bool(by["tested"][best])
    if not tested:
        why.append("the values have no standard errors")
    used = own["run"].nunique()
    if used < runs:
        lost = curves[(curves["estimator"] == best) & (curves["nothing"].map(len) > 0)]["nothing"]
        reasons = [flagging.reason(flag) for flag in _all(lost)] or ["they have no estimates"]
        why.append(f"{runs - used} of {runs} runs are left out, because {' and '.join(reasons)}")
    if not why:
        why.append("no value is flagged at the maximum or the end")
    doubtful = what == OPEN or not tested or bool(care or rise) or used < runs
    belief = NO if what == DISPUTED else CARE if doubtful else YES
    p = float(by["q"][best])
    curve = _from_to(own, unit, best)
    return Verdict(group, layer, what, belief, curve, tuple(why), used, runs, p, count, tested)


def _tests_of(count: int) -> str:
    return f"{count} {'test' if count == 1 else 'tests'}"


def _from_to(own: pd.DataFrame, unit: str, estimator: str) -> str:
    maximum, end = float(own["maximum"].mean()), float(own["end"].mean())
    share = (maximum - end) / maximum if maximum > 0 else math.nan
    turn = sorted(own["turn"].astype(int))[len(own) // 2]
    fall = "" if not math.isfinite(share) else f" (−{share:.0%})" if share >= 0.005 else " (±0%)"
    return f"{maximum:.2f} at epoch {turn} → {end:.2f} {unit} at the end{fall}, by {estimator}"


def headline(found: Sequence[Verdict]) -> list[tuple[str, str]]:
    """Summarise the verdicts on each group of runs, and say whether to believe them.

    Args:
        found: the verdicts, from ``verdicts``.

    Returns:
        A pair of plain texts for each group: which layers compress, and whether to believe it.
    """
    sentences = []
    groups = list(dict.fromkeys(v.group for v in found))
    for group in groups:
        own = [v for v in found if v.group == group]
        start = f"{group}: " if len(groups) > 1 else ""
        sentences.append((start + _which(own), _belief(own)))
    return sentences


def _which(own: Sequence[Verdict]) -> str:
    by = {what: [v.layer for v in own if v.what == what]
          for what in (COMPRESSES, KEEPS, OPEN, DISPUTED, UNKNOWN)}  # fmt: skip
    total, count = len(own), len(by[COMPRESSES])
    if len(by[UNKNOWN]) == total:
        return "These estimates cannot tell whether any layer compresses."
    text = "No layer shows compression."
    if count:
        verb = "compresses" if count == 1 else "compress"
        noun = "layer" if total == 1 else "layers"
        untested = any(not v.tested for v in own if v.what == COMPRESSES)
        start = "In this one run, " if untested else ""
        text = f"{start}{count} of {total} {noun} {verb}: {few(by[COMPRESSES])}."
    if by[OPEN]:
        verb = "compresses" if len(by[OPEN]) == 1 else "compress"
        whether = f"It is open whether {few(by[OPEN])} {verb}."
        text = f"{text} {whether}" if count or by[KEEPS] else whether
    if by[DISPUTED]:
        text += f" Estimates disagree about {few(by[DISPUTED])}."
    if by[UNKNOWN]:
        text += f" No verdict is possible on {few(by[UNKNOWN])}."
    return text


def _belief(own: Sequence[Verdict]) -> str:
    """Say whether to believe the verdicts on the layers that compress, or else on the others."""
    kinds = (COMPRESSES, KEEPS, OPEN, DISPUTED)
    by = {what: [v for v in own if v.what == what] for what in kinds}
    relevant = [*(by[COMPRESSES] or by[KEEPS] or by[OPEN]), *by[DISPUTED]]
    if not relevant:
        return f"Draw no conclusions yet: {few(_all(pd.Series([v.why for v in own])), 3)}."
    beliefs = {v.belief for v in relevant}
    why = _all(pd.Series([v.why for v in relevant if v.belief != YES]))
    if beliefs == {YES}:
        text = "You may believe it: no value is flagged at the maxima or the ends of the curves."
    elif beliefs == {NO}:
        text = f"Do not believe it yet: {'; '.join(why[:3])}."
    else:
        text = f"Believe it with care: {'; '.join(why[:3])}."
    least = min(relevant, key=lambda v: v.runs)
    if least.all_runs == 1:
        text += " There is only one run; with another seed the result may differ."
    else:
        some = f"{least.runs} of " if least.runs < least.all_runs else ""
        text += f" It is based on {some}{least.all_runs} runs."
    tests = max(v.tests for v in relevant)
    return text + (
        f" The false-discovery rate over {_tests_of(tests)} of layers and "
        f"estimators is at most {LEVEL:.0%}."
    )


def saturation(frame: pd.DataFrame) -> str:
    """Return a sentence if at least half of the values of I(X;T) are saturated, else an empty text.

    Args:
        frame: a table of estimates.
    """
    own = frame[frame["quantity"] == "I(X;T)"]
    stuck = int(own["flags"].map(lambda flags: "saturated" in _split(flags)).sum())
    if 2 * stuck < max(len(own), 1):
        return ""
    return (
        f"{stuck} of {len(own)} values of I(X;T) are saturated: at their scale nearly every sample "
        "is distinct from all others, so they say nothing about the network."
    )


def few(names: Sequence[str], most: int = 8) -> str:
    """Join names with commas; if there are many, leave out names in the middle.

    Args:
        names: names in order.
        most: the maximum number of names that are written out.
    """
    names = list(names)
    return ", ".join(names if len(names) <= most else [*names[: most - 2], "…", names[-1]])


def _all(groups: pd.Series) -> list[str]:
    return list(dict.fromkeys(flag for group in groups for flag in group))
