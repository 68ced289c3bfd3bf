"""Verdicts on decisions that were made over again and are not plainly equal: what differs, and what explains it.

Nothing here computes a feature or a score.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np

from features.history.frames import Floats
from features.history.store import Ints
from stream.rescoring.explain import DifferingRows, Explainer
from stream.rescoring.passes import Flags
from stream.rescoring.reasons import Reason, Verdict
from stream.rescoring.rescore import NO_BAND, RescoredOutputs, different

FATE, TRANSACTION, FEATURES = "fate", "transaction", "features"
"""What may differ besides single features and outputs."""
_encode = msgspec.json.Encoder().encode


class Contrast(NamedTuple):
    """k decisions side by side: vectors of shape (k, features) and outputs, as recorded and as made again.

    `again` is made of the recorded vector where there is one (`compared`), else of the one from the logs. `decided`
    tells which would be decided again, `tried` whose maker is there, `strange` whose features are not those of their
    table, `moved` whose vectors from the logs are those of a record that a repair put elsewhere.
    """

    told: Floats
    vectors: Floats
    recorded: RescoredOutputs
    again: RescoredOutputs
    compared: Flags
    decided: Flags
    tried: Flags
    strange: Flags
    moved: Flags

    def unlike(self) -> Flags:
        """Tell which features can be compared and differ."""
        return different(self.vectors, self.told) & (self.decided & self.compared)[:, np.newaxis]

    def outputs(self) -> Mapping[str, Flags]:
        """Tell whose score, whose band and whose decision differs, where that could be tried."""
        found = self.again.differences(self.recorded)
        return {name: flags & self.tried for name, flags in zip(("score", "band", "decision"), found, strict=True)}

    def odd(self) -> Flags:
        """Tell which are not plainly equal."""
        plain = self.compared & self.decided & self.tried & ~self.strange & ~self.moved
        found: Flags = ~plain | self.unlike().any(axis=1)
        for flags in self.outputs().values():
            found |= flags
        return found

    def of(self, which: Flags) -> "Contrast":
        """Return some of them."""
        sides = self.told[which], self.vectors[which], self.recorded.of(which), self.again.of(which)
        return Contrast(*sides, *(flags[which] for flags in self[4:]))


@dataclass(slots=True)
class VerdictLine:
    """What is said of one decision: differing things with both values (what is on record first), and reasons."""

    differences: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    reasons: set[Reason] = field(default_factory=set)
    is_unexplained: bool = False

    def differ(self, what: str, pair: tuple[Any, Any], reason: Reason | None) -> None:
        """Note that something differs, and why; None: nobody knows."""
        self.differences[what] = pair
        self.because(reason)

    def because(self, reason: Reason | None) -> None:
        """Note a reason; None: nobody knows."""
        if reason is None:
            self.is_unexplained = True
        else:
            self.reasons.add(reason)

    @property
    def verdict(self) -> Verdict:
        """What it comes to."""
        if self.is_unexplained:
            return Verdict.UNEXPLAINED
        return Verdict.EXPLAINED if self.reasons else Verdict.EQUAL

    def texts(self) -> tuple[str, str | None, str | None]:
        """Return verdict, reasons and differences as columns hold them."""
        told = [reason.value for reason in Reason if reason in self.reasons]
        return (
            self.verdict.value,
            ",".join(told) or None,
            _encode(self.differences).decode() if self.differences else None,
        )


def judge(names: Sequence[str], contrast: Contrast, explainer: Explainer, rows: DifferingRows) -> Iterator[VerdictLine]:
    """Say of each decision what differs and why."""
    reasons, masks = zip(*explainer.explain(rows), strict=True)
    first, fates = _first(masks), list(explainer.fate(rows))
    unlike = contrast.unlike()
    for at in range(len(first)):
        line = VerdictLine()
        if not contrast.decided[at]:
            line.differ(FATE, ("decide", None), next((reason for reason, holds in fates if holds[at]), None))
        if contrast.moved[at]:
            line.because(Reason.HISTORY_EPOCH_CHANGED)
        if contrast.strange[at]:
            line.differ(FEATURES, ("not those of this table", None), None)
        for column in np.flatnonzero(unlike[at]).tolist():
            pair = _number(contrast.told[at, column]), _number(contrast.vectors[at, column])
            line.differ(names[column], pair, None if first[at, column] < 0 else reasons[first[at, column]])
        found = first[at][first[at] >= 0]
        outputs(line, contrast, at, reasons[found.min()] if len(found) else None)
        yield line


def outputs(line: VerdictLine, contrast: Contrast, at: int, otherwise: Reason | None) -> None:
    """Say whether score, band and decision came out again.

    With features on record nothing may explain that they did not. Without, they were made of features from the logs,
    and `otherwise` is the reason why those may be other ones than the decision was made of.
    """
    if not contrast.compared[at]:
        line.because(Reason.FEATURES_NOT_RECORDED)
    if not contrast.tried[at]:
        line.because(Reason.MODEL_MISSING)
        return
    for name in [name for name, flags in contrast.outputs().items() if flags[at]]:
        pair = tuple(_plain(getattr(made, f"{name}s")[at]) for made in (contrast.recorded, contrast.again))
        line.differ(name, (pair[0], pair[1]), None if contrast.compared[at] else otherwise)


def _first(masks: Sequence[Flags]) -> Ints:
    """Return, for each feature of each decision, which reason explains it first; -1: none."""
    first = np.full(masks[0].shape, -1, np.int64)
    for index, mask in enumerate(masks):
        first[(first < 0) & mask] = index
    return first


def _number(value: np.float64) -> float | None:
    return None if np.isnan(value) else float(value)


def _plain(value: Any) -> Any:  # noqa: ANN401 - a number or a text
    if isinstance(value, np.floating):
        return _number(np.float64(value))
    return None if value == NO_BAND else value.item() if isinstance(value, np.integer) else value
