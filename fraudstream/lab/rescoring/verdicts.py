"""Verdicts on decisions that differ from themselves rescored, or could not be compared: what differs, and why.

"Recorded" is what a decision's own record says; "rescored" is what was computed now.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np

from features.history.frames import Floats
from features.history.store import Ints
from fraudstream.lab.rescoring.explain import DifferingRows, Explainer
from fraudstream.lab.rescoring.history_pass import Flags
from fraudstream.lab.rescoring.reasons import Reason, Verdict
from fraudstream.lab.rescoring.rescore import NO_BAND, RescoredOutputs, different

FATE, TRANSACTION, FEATURES = "fate", "transaction", "features"
"""What may differ besides single features and outputs."""
_encode = msgspec.json.Encoder().encode


class ComparedDecisions(NamedTuple):
    """k decisions side by side: vectors of shape (k, features) and outputs, as recorded and as rescored.

    Rescored outputs are computed from the recorded vector if there is one (`has_vector`), else from the one from the
    logs. `is_decided`: the transaction would be decided now. `is_rescored`: its model could be loaded.
    `nearer_vectors` are those from the logs if a repair displaced every record that it may have displaced.
    `is_foreign`: the recorded features are not those of the feature set that the record names. `is_displaced`: the
    vector from the logs is that of a record that a repair displaced. `is_undecidable`: the decision says so.
    """

    recorded_vectors: Floats
    log_vectors: Floats
    nearer_vectors: Floats
    recorded: RescoredOutputs
    rescored: RescoredOutputs
    has_vector: Flags
    is_decided: Flags
    is_rescored: Flags
    is_foreign: Flags
    is_displaced: Flags
    is_undecidable: Flags

    def differing_features(self) -> Flags:
        """Tell which features can be compared and differ, shape (k, features)."""
        comparable = (self.is_decided & self.has_vector)[:, np.newaxis]
        return different(self.log_vectors, self.recorded_vectors) & comparable

    def nearly_displaced(self) -> Flags:
        """Tell it of the vectors if every record that a repair may have displaced was displaced."""
        comparable = (self.is_decided & self.has_vector)[:, np.newaxis]
        return different(self.nearer_vectors, self.recorded_vectors) & comparable

    def differing_outputs(self) -> Mapping[str, Flags]:
        """Tell whose score, band, decision and rule differ, of those that could be rescored."""
        found = self.rescored.differences(self.recorded)
        names = ("score", "band", "decision", "rule")
        return {name: flags & self.is_rescored for name, flags in zip(names, found, strict=True)}

    def not_equal(self) -> Flags:
        """Tell which are not proven equal, and need a verdict with reasons."""
        plain = self.has_vector & self.is_decided & self.is_rescored
        found: Flags = ~plain | self.is_foreign | self.is_displaced | self.is_undecidable
        found |= self.differing_features().any(axis=1)
        for flags in self.differing_outputs().values():
            found |= flags
        return found

    def of(self, which: Flags) -> "ComparedDecisions":
        """Return some of the decisions."""
        vectors = self.recorded_vectors[which], self.log_vectors[which], self.nearer_vectors[which]
        outputs = self.recorded.of(which), self.rescored.of(which)
        return ComparedDecisions(*vectors, *outputs, *(flags[which] for flags in self[5:]))


@dataclass(slots=True)
class VerdictLine:
    """The verdict on one decision: what differs, with the recorded value and the rescored one, and the reasons."""

    differences: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    reasons: set[Reason] = field(default_factory=set)
    is_unexplained: bool = False

    def add_difference(self, name: str, pair: tuple[Any, Any], reason: Reason | None) -> None:
        """Add something that differs, and its reason; None: unexplained."""
        self.differences[name] = pair
        self.add_reason(reason)

    def add_reason(self, reason: Reason | None) -> None:
        """Add a reason; None: unexplained."""
        if reason is None:
            self.is_unexplained = True
        else:
            self.reasons.add(reason)

    @property
    def verdict(self) -> Verdict:
        """Return the verdict that follows from what was added."""
        if self.is_unexplained:
            return Verdict.UNEXPLAINED
        return Verdict.EXPLAINED if self.reasons else Verdict.EQUAL

    def texts(self) -> tuple[str, str | None, str | None]:
        """Return the output columns verdict, reasons and differences."""
        reasons = [reason.value for reason in Reason if reason in self.reasons]
        return (
            self.verdict.value,
            ",".join(reasons) or None,
            _encode(self.differences).decode() if self.differences else None,
        )


def judge(
    names: Sequence[str], compared: ComparedDecisions, explainer: Explainer, rows: DifferingRows
) -> Iterator[VerdictLine]:
    """Yield the verdict on each decision: what differs, and why."""
    reasons, masks = zip(*explainer.explain(rows), strict=True)
    first, fates = _first(masks), list(explainer.fate(rows))
    differing, nearer = compared.differing_features(), compared.nearly_displaced()
    for at in range(len(first)):
        line = VerdictLine()
        if not compared.is_decided[at]:
            reason = next((reason for reason, holds in fates if holds[at]), None)
            line.add_difference(FATE, ("decide", None), reason)
        if compared.is_displaced[at]:
            line.add_reason(Reason.HISTORY_EPOCH_CHANGED)
        if compared.is_foreign[at]:
            line.add_difference(FEATURES, ("not those of this table", None), None)
        vector = compared.log_vectors[at]
        if (differing[at] & (first[at] < 0)).any() and not (nearer[at] & (first[at] < 0)).any():
            line.add_reason(Reason.HISTORY_EPOCH_CHANGED)  # displaced, and other reasons explain the rest
            vector, differing[at] = compared.nearer_vectors[at], nearer[at]
        for column in np.flatnonzero(differing[at]).tolist():
            pair = _number(compared.recorded_vectors[at, column]), _number(vector[column])
            line.add_difference(names[column], pair, None if first[at, column] < 0 else reasons[first[at, column]])
        found = first[at][first[at] >= 0]
        compare_outputs(line, compared, at, reasons[found.min()] if len(found) else None)
        yield line


def compare_outputs(line: VerdictLine, compared: ComparedDecisions, at: int, features_reason: Reason | None) -> None:
    """Add whether score, band, decision and rule are equal.

    With recorded features nothing explains a difference. Without, the outputs were computed from the logs' features,
    and `features_reason` is why those may differ from the ones that the decision was made of.
    """
    if compared.is_undecidable[at]:
        line.add_reason(Reason.UNDECIDABLE)
    if not compared.has_vector[at]:
        line.add_reason(Reason.FEATURES_NOT_RECORDED)
    if not compared.is_rescored[at]:
        line.add_reason(Reason.MODEL_MISSING)
        return
    for name in [name for name, flags in compared.differing_outputs().items() if flags[at]]:
        pair = tuple(_plain(getattr(outputs, f"{name}s")[at]) for outputs in (compared.recorded, compared.rescored))
        line.add_difference(name, (pair[0], pair[1]), None if compared.has_vector[at] else features_reason)


def _first(masks: Sequence[Flags]) -> Ints:
    """Return, for each feature of each decision, the index of the first reason that explains it; -1: none."""
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
