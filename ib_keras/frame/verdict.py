"""What a table of estimates says, in plain words: which layers compress, and whether to believe it.

A layer compresses if I(X;T) ends below an earlier value by more than 5 % of its maximum, by more
than 0.01 nats or bits, and by more than is explained by standard errors, seeds, and the numbers of
epochs, layers and estimators looked at. The test is that of ``falls``, at a false-discovery rate
of 5 %. Curves whose maximum and end are flagged as telling nothing have no say.
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

# The least fall that counts, as a share of the maximum and in the table's unit; of a curve that
# does not fall, all that its error allows is below that.
SHARE, LEAST, ERRORS = 0.05, 0.01, 2.0
YES, CARE, NO = "yes", "with care", "no"
COMPRESSES, KEEPS, DISPUTED, UNKNOWN = (
    "compresses", "is not seen to compress", "estimates disagree", "cannot be told",
)  # fmt: skip
_KEY = ["run", "layer", "layer_index", "estimator"]
_split = flagging.split
_MISSING = "not_estimated"


@dataclasses.dataclass(frozen=True)
class Verdict:
    """The verdict on one layer.

    Args:
        group: the run, or the runs that differ in their seeds only.
        layer: its name.
        what: ``COMPRESSES``, ``KEEPS``, ``DISPUTED`` or ``UNKNOWN``.
        belief: ``YES``, ``CARE`` or ``NO``.
        curve: from what to what I(X;T) went, by which estimator.
        why: reasons for the belief.
        runs: how many it rests on.
        p: of the test that the fall is chance, adjusted for all layers and estimators looked at.
        tests: how many these were.
        tested: whether the error of the fall is known, from standard errors or several runs.
    """

    group: str
    layer: str
    what: str
    belief: str
    curve: str
    why: tuple[str, ...]
    runs: int
    p: float = math.nan
    tests: int = 0
    tested: bool = False

    @property
    def claim(self) -> str:
        """The verdict in words, with the test on which it rests."""
        if self.what != COMPRESSES:
            return self.what
        seen = "" if self.tested else ", seen in one run"
        p = "p < 0.001" if self.p < 1e-3 else f"p = {self.p:.2g}"
        return f"{self.what}{seen} ({p}, adjusted for {self.tests} tests)"


def verdicts(frame: pd.DataFrame) -> list[Verdict]:
    """The verdict on each layer: one for each group of seeds and layer, in order.

    Args:
        frame: a table of estimates in one unit.

    Returns:
        The verdicts; none if the table has no finite I(X;T), or a single epoch.

    Raises:
        ArgumentError: the table lacks columns.
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
    found = []
    for place in sorted(places.itertuples(index=False, name=None), key=lambda p: order[p[0]]):
        group, layer = str(place[0]), str(place[1])
        here, by = own.get(place, curves[:0]), tested.get(place, tests[:0])
        found.append(_verdict(group, layer, here, by, len(tests), flags[place], unit))
    return found


def _curves(table: pd.DataFrame) -> pd.DataFrame:
    """A row a curve: ``frame.compression``, and the flags at both ends."""
    finite = table[np.isfinite(table["value"])]
    if finite.empty:
        return pd.DataFrame(columns=[*_KEY, "nothing", "care"])
    curves = frames.compression(finite)
    # The last epoch that was recorded; without a number there, nothing is known of the end.
    ends = table.groupby(_KEY, sort=False)["epoch"].max().rename("last").reset_index()
    curves = curves.merge(ends, on=_KEY)
    flags = table.drop_duplicates([*_KEY, "epoch"])[[*_KEY, "epoch", "flags", "value"]]
    flags["flags"] = flags["flags"].where(np.isfinite(flags.pop("value")), _MISSING)
    for end, name in (("turn", "flags_turn"), ("last", "flags_end")):
        renamed = flags.rename(columns={"epoch": end, "flags": name})
        curves = curves.merge(renamed, on=[*_KEY, end], how="left")
    both = [
        (_split(turn), _split(last))
        for turn, last in zip(curves["flags_turn"], curves["flags_end"], strict=True)
    ]
    # A maximum at the ceiling and an end below it: the fall is real, and may be larger.
    curves["nothing"] = [
        tuple(f for f in _nothing((*a, *b)) if f != "saturated" or f in b) for a, b in both
    ]
    curves["care"] = [
        tuple(f for f in dict.fromkeys((*a, *b)) if f not in _nothing((f,)) or f == "saturated")
        for a, b in both
    ]
    return curves


def _nothing(flags: Sequence[str]) -> list[str]:
    """Those of some flags that leave nothing of a value, each once."""
    return [f for f in dict.fromkeys(flags) if flagging.doubt((f,)) == flagging.NOTHING]


def _tests(table: pd.DataFrame, curves: pd.DataFrame, names: dict[str, str]) -> pd.DataFrame:
    """A row for each group of seeds, layer and estimator: whether the curves fall.

    The columns ``falls`` (the fall is claimed) and ``flat`` (the fall is below what counts by more
    than its error); neither is true of a curve that its error leaves open.
    """
    columns = ["group", "layer", "estimator", "p", "tested", "large", "flat"]
    usable = curves[curves["nothing"].map(len) == 0]
    if usable.empty:
        return pd.DataFrame(columns=[*columns, "q", "falls"])
    finite = table[np.isfinite(table["value"])].drop_duplicates([*_KEY, "epoch"])
    wide = finite.set_index([*_KEY, "epoch"])[["value", "stderr"]].astype(float).unstack("epoch")
    wide = wide.sort_index(axis=1)
    values, stderrs = wide["value"].to_numpy(), wide["stderr"].to_numpy()
    places = {key: i for i, key in enumerate(wide.index)}
    counts = finite.groupby(_KEY)["n"].max()
    n, unit = counts.reindex(wide.index).to_numpy(), str(table["unit"].iloc[0])
    rows: dict[tuple[str, str, str], list[int]] = {}
    measures = usable[["absolute", "maximum", "stderr"]].to_numpy(float)
    for i, key in enumerate(usable[_KEY].itertuples(index=False, name=None)):
        rows.setdefault((names[key[0]], key[1], key[3]), []).append(i)
    at = [places[key] for key in usable[_KEY].itertuples(index=False, name=None)]
    found = []
    for group, own in rows.items():
        cells = [at[i] for i in own]
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
        found.append((*group, p, tested, fall > least, fall + error <= least))
    tests = pd.DataFrame(found, columns=columns)
    tests["q"] = adjusted(tests["p"].to_numpy(float))
    tests["falls"] = tests["large"].astype(bool) & (tests["q"] <= LEVEL)
    return tests


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
        reasons = [flagging.reason(f) for f in _nothing(_all(flags.map(_split)))]
        reasons = reasons or ["there is no number"]
        return Verdict(group, layer, UNKNOWN, NO, "", tuple(reasons), runs)
    # The estimator with the fewest doubts speaks for the layer.
    doubts = usable.groupby("estimator", sort=False)["care"].agg(lambda c: max(map(len, c)))
    best = str(doubts.idxmin())
    own = usable[usable["estimator"] == best]
    by = tests.set_index("estimator")
    falls, flat = by["falls"].astype(bool), by["flat"].astype(bool)
    what = DISPUTED if falls.any() and flat.any() else COMPRESSES if falls.any() else KEEPS
    if falls.any() and not falls[best]:  # what is flagged least does not see the fall
        best = str(doubts[falls[falls].index].idxmin())
        own = usable[usable["estimator"] == best]
    why: list[str] = []
    if what == DISPUTED:
        why.append(
            "; ".join(
                f"{name} sees it" if falls[name] else f"{name} does not"
                for name in by.index
                if falls[name] or flat[name]
            )
        )
    elif what == KEEPS and not flat[best]:
        why.append(f"errors and the number of comparisons leave open whether {layer} falls")
    care = _all(own["care"])
    why += [
        "it fell from the ceiling, so perhaps by more"
        if flag == "saturated"
        else flagging.reason(flag)
        for flag in care
    ]
    tested = bool(by["tested"][best])
    if not tested:
        why.append("no error of its values is known, and there is one run")
    if not why:
        why.append("nothing is flagged at the maximum and at the end")
    doubtful = max((flagging.doubt((flag,)) for flag in care), default=0) > 0
    belief = NO if what == DISPUTED else CARE if doubtful or not tested else YES
    if what == KEEPS and not flat[best] and belief == YES:
        belief = CARE
    p = float(by["q"][best])
    curve = _from_to(own, unit, best)
    return Verdict(
        group, layer, what, belief, curve, tuple(why), own["run"].nunique(), p, count, tested
    )


def _from_to(own: pd.DataFrame, unit: str, estimator: str) -> str:
    maximum, end = float(own["maximum"].mean()), float(own["end"].mean())
    share = (maximum - end) / maximum if maximum > 0 else math.nan
    turn = sorted(own["turn"].astype(int))[len(own) // 2]
    fall = "" if not math.isfinite(share) else f" (−{share:.0%})" if share >= 0.005 else " (±0%)"
    return f"{maximum:.2f} at epoch {turn} → {end:.2f} {unit} at the end{fall}, by {estimator}"


def headline(found: Sequence[Verdict]) -> list[tuple[str, str]]:
    """For each group of seeds a sentence on its layers, and one on whether to believe it.

    Args:
        found: what ``verdicts`` returned.

    Returns:
        Pairs of plain texts.
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
          for what in (COMPRESSES, KEEPS, DISPUTED, UNKNOWN)}  # fmt: skip
    total, count = len(own), len(by[COMPRESSES])
    if len(by[UNKNOWN]) == total:
        return "These estimates cannot tell whether any layer compresses."
    if count:
        verb = "compresses" if count == 1 else "compress"
        noun = "layer" if total == 1 else "layers"
        untested = any(not v.tested for v in own if v.what == COMPRESSES)
        start = "In this one run, " if untested else ""
        text = f"{start}{count} of {total} {noun} {verb}: {few(by[COMPRESSES])}."
    else:
        text = "No layer is seen to compress."
    if by[DISPUTED]:
        text += f" Estimates disagree about {few(by[DISPUTED])}."
    if by[UNKNOWN]:
        text += f" No verdict is possible on {few(by[UNKNOWN])}."
    return text


def _belief(own: Sequence[Verdict]) -> str:
    """Whether to believe the verdicts on layers that compress, or else on all; and the test."""
    by = {what: [v for v in own if v.what == what] for what in (COMPRESSES, KEEPS, DISPUTED)}
    told = [*(by[COMPRESSES] or by[KEEPS]), *by[DISPUTED]]
    if not told:
        return f"Believe nothing yet: {few(_all(pd.Series([v.why for v in own])), 3)}."
    beliefs = {v.belief for v in told}
    why = list(dict.fromkeys(w for v in told if v.belief != YES for w in v.why))
    if beliefs == {YES}:
        text = "You may believe it: nothing is flagged where it counts."
    elif beliefs == {NO}:
        text = f"Do not believe it yet: {'; '.join(why[:3])}."
    else:
        text = f"Believe it with care: {'; '.join(why[:3])}."
    runs = min(v.runs for v in told)
    if runs == 1:
        text += " This is one run; another start of the training may differ."
    else:
        text += f" It rests on {runs} runs."
    tests = max(v.tests for v in told)
    noun = "comparison" if tests == 1 else "comparisons"
    text += (
        f" Of {tests} {noun} of layers and estimators, those are claimed that chance does not "
        f"explain at a false-discovery rate of {LEVEL:.0%}."
    )
    return text


def saturation(frame: pd.DataFrame) -> str:
    """What is to be said first: how many values of I(X;T) are saturated; empty if few are.

    Args:
        frame: a table of estimates.
    """
    own = frame[frame["quantity"] == "I(X;T)"]
    stuck = int(own["flags"].map(lambda flags: "saturated" in _split(flags)).sum())
    if 2 * stuck < max(len(own), 1):
        return ""
    return (
        f"{stuck} of {len(own)} values of I(X;T) are saturated: at their scale nearly every sample "
        "is alone, and they say nothing about the network."
    )


def doubt(flags: str) -> int:
    """How much to doubt an estimate: 0 without flags, 1 to be taken with care, 2 saying nothing.

    Args:
        flags: as the table has them, joined by commas.
    """
    return flagging.doubt(flags)


def few(names: Sequence[str], most: int = 8) -> str:
    """Names, shortened in the middle if there are many.

    Args:
        names: in order.
        most: how many are written out.
    """
    names = list(names)
    return ", ".join(names if len(names) <= most else [*names[: most - 2], "…", names[-1]])


def _all(groups: pd.Series) -> list[str]:
    return list(dict.fromkeys(flag for group in groups for flag in group))
