"""What a table of estimates says, in plain words: which layers compress, and whether to believe it.

A layer's curve compresses if I(X;T) ends below its maximum by more than 5 % of it and by more than
two standard errors. Curves whose maximum and end are flagged as telling nothing have no say.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ib_keras import frame as frames

# The least fall that counts, as a share of the maximum, and in standard errors.
SHARE, ERRORS = 0.05, 2.0
# Flags of values that say nothing of whether a layer compresses, and why, in a few words.
TELLS_NOTHING = {
    "saturated": "its values are stuck at their ceiling",
    "high_dim": "there are too few samples for so wide a layer",
    "network_noise": "the estimator counts the network's own noise as information",
    "no_channel": "the layer has no noise of its own",
    "no_propagations": "what it needs was not recorded",
    "untrusted": "the estimator is known to be off here",
    "negative": "the values are below 0",
}
# Flags of values that may be believed for what they are.
WITH_CARE = {
    "measurement_bins": "what is seen is how activations cluster at the scale of the bins",
    "measurement_noise": "what is seen is how activations cluster at the scale of added noise",
    "no_noise": "without noise the values show no more than so many samples can",
    "clipped": "some values lay outside the bins",
    "ties": "values repeat",
    "log_batch": "the values are near the most that the estimator can say",
    "no_critic": "only some estimators had a say",
    "unconfirmed": "held-out rows do not confirm it",
    "unfinished": "decoders had not finished learning",
}
YES, CARE, NO = "yes", "with care", "no"
COMPRESSES, KEEPS, DISPUTED, UNKNOWN = (
    "compresses", "does not compress", "estimates disagree", "cannot be told",
)  # fmt: skip
_KEY = ["run", "layer", "layer_index", "estimator"]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What can be said of one layer.

    Args:
        group: the run, or the runs that differ in their seeds only.
        layer: its name.
        what: ``COMPRESSES``, ``KEEPS``, ``DISPUTED`` or ``UNKNOWN``.
        belief: ``YES``, ``CARE`` or ``NO``.
        curve: from what to what I(X;T) went, by which estimator.
        why: reasons for the belief.
        runs: how many it rests on.
    """

    group: str
    layer: str
    what: str
    belief: str
    curve: str
    why: tuple[str, ...]
    runs: int


def verdicts(frame: pd.DataFrame) -> list[Verdict]:
    """What can be said of each layer: a verdict for each group of seeds and layer, in order.

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
    places = table.drop_duplicates(["run", "layer"]).sort_values("layer_index")
    found = []
    for group in dict.fromkeys(names.values()):
        runs = [run for run, name in names.items() if name == group]
        here = places[places["run"].isin(runs)]
        for layer in dict.fromkeys(here["layer"]):
            own = curves[curves["run"].isin(runs) & (curves["layer"] == layer)]
            flags = table[table["run"].isin(runs) & (table["layer"] == layer)]["flags"]
            found.append(_verdict(group, str(layer), own, flags, len(runs), table["unit"].iloc[0]))
    return found


def _curves(table: pd.DataFrame) -> pd.DataFrame:
    """A row a curve: ``frame.compression``, the flags at both ends, and whether it falls."""
    finite = table[np.isfinite(table["value"])]
    if finite.empty:
        return pd.DataFrame(columns=[*_KEY, "falls", "nothing", "care"])
    curves = frames.compression(finite)
    ends = finite.groupby(_KEY, sort=False)["epoch"].max().rename("last").reset_index()
    curves = curves.merge(ends, on=_KEY)
    flags = finite.drop_duplicates([*_KEY, "epoch"])[[*_KEY, "epoch", "flags"]]
    for end, name in (("turn", "flags_turn"), ("last", "flags_end")):
        renamed = flags.rename(columns={"epoch": end, "flags": name})
        curves = curves.merge(renamed, on=[*_KEY, end], how="left")
    both = [
        (_split(turn), _split(last))
        for turn, last in zip(curves["flags_turn"], curves["flags_end"], strict=True)
    ]
    # A maximum at the ceiling and an end below it: the fall is real, and may be larger.
    curves["nothing"] = [
        tuple(f for f in _known(a + b, TELLS_NOTHING) if f != "saturated" or f in b)
        for a, b in both
    ]
    curves["care"] = [
        tuple(f for f in dict.fromkeys(a + b) if f not in TELLS_NOTHING or f == "saturated")
        for a, b in both
    ]
    least = np.maximum(SHARE * curves["maximum"].abs(), ERRORS * curves["stderr"].fillna(0))
    curves["falls"] = curves["absolute"] > np.maximum(least, 1e-9)
    return curves


def _verdict(
    group: str, layer: str, curves: pd.DataFrame, flags: pd.Series, runs: int, unit: str
) -> Verdict:
    usable = curves[curves["nothing"].map(len) == 0]
    if usable.empty:
        reasons = [TELLS_NOTHING[f] for f in _known(_all(flags.map(_split)), TELLS_NOTHING)]
        reasons = reasons or ["there is no number"]
        return Verdict(group, layer, UNKNOWN, NO, "", tuple(reasons), runs)
    # The estimator with the fewest doubts speaks for the layer.
    doubts = usable.groupby("estimator", sort=False)["care"].agg(lambda c: max(map(len, c)))
    best = str(doubts.idxmin())
    own = usable[usable["estimator"] == best]
    falls = usable["falls"].to_numpy(bool)
    what = COMPRESSES if falls.all() else DISPUTED if falls.any() else KEEPS
    why: list[str] = []
    if what == DISPUTED:
        by = usable.groupby("estimator", sort=False)["falls"].agg(["sum", "size"])
        seen = [
            f"{name} sees it" + (f" in {int(s)} of {size} runs" if size > 1 else "")
            if s
            else f"{name} does not"
            for name, (s, size) in by.iterrows()
        ]
        why.append("; ".join(seen))
    care = _all(own["care"])
    why += [
        "it fell from the ceiling, so perhaps by more"
        if flag == "saturated"
        else WITH_CARE.get(flag, f"flagged {flag}")
        for flag in dict.fromkeys(care)
    ]
    if not care:
        why.append("nothing is flagged at the maximum and at the end")
    belief = NO if what == DISPUTED and not care else CARE if care or what == DISPUTED else YES
    if what == DISPUTED:
        belief = CARE if falls.mean() >= 0.75 or falls.mean() <= 0.25 else NO
    told = own["run"].nunique()
    return Verdict(group, layer, what, belief, _from_to(own, unit, best), tuple(why), told)


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
        text = f"{count} of {total} {noun} {verb}: {few(by[COMPRESSES])}."
    else:
        text = "No layer is seen to compress."
    if by[DISPUTED]:
        text += f" Estimates disagree about {few(by[DISPUTED])}."
    if by[UNKNOWN]:
        text += f" Nothing can be said of {few(by[UNKNOWN])}."
    return text


def _belief(own: Sequence[Verdict]) -> str:
    """Whether to believe what is said of the layers that compress, or else of all."""
    by = {what: [v for v in own if v.what == what] for what in (COMPRESSES, KEEPS, DISPUTED)}
    told = by[COMPRESSES] or by[KEEPS] or by[DISPUTED]
    if not told:
        return f"Believe nothing yet: {few(_all(pd.Series([v.why for v in own])), 3)}."
    beliefs = {v.belief for v in told}
    why = list(dict.fromkeys(w for v in told if v.belief != YES for w in v.why))
    if beliefs == {YES}:
        text = "You may believe it: nothing is flagged where it counts."
    elif NO in beliefs and len(beliefs) == 1:
        text = f"Do not believe it yet: {'; '.join(why[:3])}."
    else:
        text = f"Believe it with care: {'; '.join(why[:3])}."
    runs = min(v.runs for v in told)
    if runs == 1:
        text += " This is one run; another start of the training may differ."
    else:
        text += f" It rests on {runs} runs."
    return text


def doubt(flags: str) -> int:
    """How much to doubt an estimate: 0 without flags, 1 to be taken with care, 2 saying nothing.

    Args:
        flags: as the table has them, joined by commas.
    """
    own = _split(flags)
    return 2 if _known(own, TELLS_NOTHING) else 1 if own else 0


def few(names: Sequence[str], most: int = 8) -> str:
    """Names, shortened in the middle if there are many.

    Args:
        names: in order.
        most: how many are written out.
    """
    names = list(names)
    return ", ".join(names if len(names) <= most else [*names[: most - 2], "…", names[-1]])


def _split(flags: str) -> tuple[str, ...]:
    return tuple(filter(None, str(flags).split(",")))


def _known(flags: Sequence[str], known: dict[str, str]) -> list[str]:
    return [flag for flag in dict.fromkeys(flags) if flag in known]


def _all(groups: pd.Series) -> list[str]:
    return list(dict.fromkeys(flag for group in groups for flag in group))
