"""Decisions on record against the same made over again: a block at a time, each row to the last bit.

Two things are checked of each: what its features come to by the model that it names, and what they are by the logs.
Nothing here reads a topic.
"""

from typing import Any

import msgspec
import numpy as np

from features.history.frames import Floats
from features.history.store import Ints
from stream.rescoring.blocks import Columns, read_base, write_part
from stream.rescoring.explain import DifferingRows, Explainer
from stream.rescoring.ledgers import assemble, fill, visible
from stream.rescoring.passes import Flags, columns_of
from stream.rescoring.reasons import Reason, Verdict
from stream.rescoring.rescore import NO_BAND, DecidingModels, Objects, different, nothing, recorded, remake, remake_from
from stream.rescoring.tasks import DECIDE, FATES
from stream.rescoring.verdicts import TRANSACTION, Contrast, VerdictLine, judge, outputs
from stream.rescoring.workdir import Workdir

GONE = -1
"""The number of a decision whose transaction is not there."""
_KEPT = ("partition", "offset", "transaction_id", "card_id", "merchant_id", "occurred_at", "amount_minor", "currency",
         "decided_by", "digest")  # fmt: skip
_FATE_NAMES = np.array([*(fate.value for fate in FATES), None], object)


def compare_block(url: str, place: Workdir, number: int) -> None:
    """Compare a block of decisions with what is made again, and write what came of it."""
    comparison = BlockComparison(url, place, number)
    comparison.run()
    write_part(place, number, comparison.columns())
    place.progress()[number] = len(comparison.numbers)


class BlockComparison:
    """One block being compared; `numbers` are those of its n transactions, or GONE."""

    def __init__(self, url: str, place: Workdir, number: int) -> None:
        self._place = place
        self._number = number
        self._base = read_base(place, number)
        self.numbers: Ints = np.asarray(self._base["number"], np.int64)
        self._codes: Ints = np.where(self.numbers == GONE, GONE, place.fates()[np.maximum(self.numbers, 0)])
        self._makers = DecidingModels(url, _objects(self._base["digest"]), _objects(self._base["decided_by"]))
        self._recorded = recorded(self._base)
        self._features = self._base["features"].tolist()
        self._is_vector = np.asarray(self._base["is_vector"], np.bool_)
        count = len(self.numbers)
        self._made = nothing(count)
        self._vectors = {name: np.full(count, np.nan) for one in place.sets.sets for name in one.names}
        self._lines = np.full((count, 3), None, object)
        self._lines[:, 0] = Verdict.EQUAL.value

    def columns(self) -> Columns:
        """Return what is written of the block."""
        band = np.ma.masked_array(self._made.bands.astype(np.int32), self._made.bands == NO_BAND)
        said = dict(zip(("verdict", "reasons", "differences"), self._lines.T.copy(), strict=True))
        told = {name: self._base[name] for name in ("recorded_score", "recorded_band", "recorded_decision")}
        made = {"score": self._made.scores, "band": band, "decision": self._made.decisions}
        kept = {name: self._base[name] for name in _KEPT}
        return kept | {"fate": _FATE_NAMES[self._codes]} | said | told | made | self._vectors

    def run(self) -> None:
        """Compare all: decisions by tables that are computed here, by others, and those without a transaction."""
        fingerprints = _objects(self._base["fingerprint"])
        there, ours = self._codes != GONE, np.zeros(len(self.numbers), np.bool_)
        for fingerprint in self._place.sets.by_fingerprint:
            is_its = fingerprints == fingerprint
            ours |= is_its
            self._compare(fingerprint, np.flatnonzero(there & is_its))
        deleted = np.asarray(self._base["is_deleted"], np.bool_)
        self._check(np.flatnonzero(there & ~ours), Reason.ANOTHER_FINGERPRINT)
        self._check(np.flatnonzero(~there & deleted), Reason.BEYOND_RETENTION)
        self._check(np.flatnonzero(~there & ~deleted), None)

    def _compare(self, fingerprint: str, which: Ints) -> None:
        """Compare decisions by one table of features with the logs."""
        names = self._place.sets.by_fingerprint[fingerprint].names
        decided, compared = self._codes[which] == DECIDE, self._is_vector[which]
        told = self._told(which, len(names))
        vectors, moved = self._vectors_of(fingerprint, which, told)
        vectors[~decided] = np.nan
        for at, name in enumerate(names):
            self._vectors[name][which] = vectors[:, at]
        makers = self._makers.of(which)
        made, tried = remake(makers, names, vectors)
        for kept, values in zip(self._made, made.of(decided), strict=True):
            kept[which[decided]] = values
        strange = ~compared & np.array([self._features[row] is not None for row in which.tolist()], np.bool_)
        contrast = Contrast(told, vectors, self._recorded.of(which), made, compared, decided, tried, strange, moved)
        again = contrast.unlike().any(axis=1) | (~decided & compared)
        for kept, values in zip(made, remake(makers.of(np.flatnonzero(again)), names, told[again])[0], strict=True):
            kept[again] = values
        odd = contrast.odd()
        if not odd.any():
            return
        explainer, rows = Explainer(self._place, self._place.sets.by_fingerprint[fingerprint]), self._rows(which[odd])
        self._say(which[odd], list(judge(names, contrast.of(odd), explainer, rows)))

    def _vectors_of(self, fingerprint: str, which: Ints, told: Floats) -> tuple[Floats, Flags]:
        """Return the vectors from the logs, and which of them are those of a decision that may be displaced.

        They are where that makes them what is on record: nothing else says whether a record was displaced.
        """
        vectors, moved = assemble(self._place, self._number, fingerprint), np.zeros(len(which), np.bool_)
        found, feature_set = vectors[which], self._place.sets.by_fingerprint[fingerprint]
        for kind in self._place.others if self._place.is_searched else ():
            columns = columns_of(feature_set, kind)
            otherwise = vectors.copy()
            fill(self._place, self._number, fingerprint, (kind, otherwise), moved=True)
            theirs = otherwise[which][:, columns]
            later = np.array([one is True for one in self._base["is_later_epoch"].tolist()], np.bool_)[which]
            unlike = different(found[:, columns], told[:, columns]).any(axis=1)
            fits = later & unlike & ~different(theirs, told[:, columns]).any(axis=1)
            found[np.ix_(np.flatnonzero(fits), np.array(columns))] = theirs[fits]
            moved |= fits
        return found, moved

    def _told(self, which: Ints, width: int) -> Floats:
        """Return the vectors on record."""
        told = np.full((len(which), width), np.nan)
        for at, row in enumerate(which.tolist()):
            if self._is_vector[row]:
                told[at] = np.frombuffer(bytes(self._features[row]), np.float64)
        return told

    def _rows(self, which: Ints) -> DifferingRows:
        seen = {kind: visible(self._place, self._number, kind)[which] for kind in self._place.entities}
        return DifferingRows({name: values[which] for name, values in self._base.items()}, self.numbers[which], seen)

    def _check(self, which: Ints, reason: Reason | None) -> None:
        """Check decisions by their own features alone, for this reason; None: the transaction should be there."""
        has = np.array([self._features[row] is not None for row in which.tolist()], np.bool_)
        made, tried = nothing(len(which)), ~has
        named = [self._named(row) for row in which[has].tolist()]
        again, its_tried = remake_from(self._makers.of(which[has]), named)
        for kept, values in zip(made, again, strict=True):
            kept[has] = values
        tried[has] = its_tried
        for kept, values in zip(made, self._recorded.of(which[~has]), strict=True):
            kept[~has] = values  # nothing can be made again, so nothing is held against it
        nowhere = np.empty((len(which), 0))
        flags = np.ones(len(which), np.bool_)
        contrast = Contrast(nowhere, nowhere, self._recorded.of(which), made, has, flags, tried, ~flags, ~flags)
        lines = [VerdictLine() for _ in which]
        for at, line in enumerate(lines):
            line.because(reason) if reason else line.differ(TRANSACTION, ("decided", None), None)
            outputs(line, contrast, at, None)
        self._say(which, lines)

    def _named(self, row: int) -> dict[str, float | None]:
        """Return recorded features by name."""
        packed = bytes(self._features[row])
        if not self._is_vector[row]:
            found: dict[str, float | None] = msgspec.json.decode(packed)
            return found
        names = self._place.sets.by_fingerprint[str(self._base["fingerprint"][row])].names
        return dict(zip(names, np.frombuffer(packed, np.float64).tolist(), strict=True))

    def _say(self, which: Ints, lines: list[VerdictLine]) -> None:
        for row, line in zip(which.tolist(), lines, strict=True):
            self._lines[row] = line.texts()


def _objects(values: Any) -> Objects:  # noqa: ANN401 - an array, masked or not
    return np.array(values.tolist(), object)
