"""Compares the decisions of a block with themselves rescored, to the last bit.

Two checks of each: its model gives its outputs from its recorded features, and the logs give its recorded features.
"""

from typing import Any

import msgspec
import numpy as np

from features.history.frames import Floats
from features.history.store import Ints
from fraudstream.lab.dataset.output import Columns
from fraudstream.lab.rescoring.blocks import FATE_NAMES, read_base, write_block
from fraudstream.lab.rescoring.explain import DifferingRows, Explainer
from fraudstream.lab.rescoring.history_pass import Flags, columns_of
from fraudstream.lab.rescoring.reasons import Reason, Verdict
from fraudstream.lab.rescoring.rescore import (
    NO_BAND,
    DecidingModels,
    Objects,
    capped,
    different,
    no_outputs,
    payments_of,
    recorded,
    rescore,
    rescore_recorded,
    stood_in,
)
from fraudstream.lab.rescoring.shard_output import block_vectors, fill_vectors, visible_counts
from fraudstream.lab.rescoring.tasks import DECIDE
from fraudstream.lab.rescoring.verdicts import TRANSACTION, ComparedDecisions, VerdictLine, compare_outputs, judge
from fraudstream.lab.rescoring.workdir import Workdir

NO_TRANSACTION = -1
"""The number, and the fate, of a decision whose transaction was not read."""
_KEPT = ("partition", "offset", "transaction_id", "card_id", "merchant_id", "occurred_at", "amount_minor", "currency",
         "decided_by", "overruled_by", "degraded", "digest")  # fmt: skip
_FATE_NAMES = np.array([*FATE_NAMES, None], object)
"""NO_TRANSACTION is the index of the last."""


def compare_block(url: str, workdir: Workdir, number: int) -> None:
    """Compare a block of decisions with themselves rescored, and write the result."""
    comparison = BlockComparison(url, workdir, number)
    comparison.run()
    write_block(workdir, number, comparison.columns())
    workdir.progress()[number] = len(comparison.numbers)


class BlockComparison:
    """The comparison of one block of n decisions; `numbers` are those of their transactions, or NO_TRANSACTION."""

    def __init__(self, url: str, workdir: Workdir, number: int) -> None:
        self._workdir = workdir
        self._number = number
        self._base = read_base(workdir, number)
        self.numbers: Ints = np.asarray(self._base["number"], np.int64)
        is_absent = self.numbers == NO_TRANSACTION
        self._codes: Ints = np.where(is_absent, NO_TRANSACTION, workdir.fates()[np.maximum(self.numbers, 0)])
        made = _objects(self._base["digest"]), _objects(self._base["decided_by"])
        self._models = DecidingModels(url, *made, payments_of(self._base), stood_in(self._base), capped(self._base))
        self._recorded = recorded(self._base)
        self._is_undecidable = np.ma.filled(np.ma.asarray(self._base["undecidable"], np.bool_), fill_value=False)
        self._features = self._base["features"].tolist()
        self._is_vector = np.asarray(self._base["is_vector"], np.bool_)
        count = len(self.numbers)
        self._rescored = no_outputs(count)
        self._vectors = {name: np.full(count, np.nan) for one in workdir.sets.sets for name in one.names}
        self._lines = np.full((count, 3), None, object)
        self._lines[:, 0] = Verdict.EQUAL.value

    def columns(self) -> Columns:
        """Return the output columns of the block."""
        band = np.ma.masked_array(self._rescored.bands.astype(np.int32), self._rescored.bands == NO_BAND)
        verdicts = dict(zip(("verdict", "reasons", "differences"), self._lines.T.copy(), strict=True))
        outputs = {name: self._base[name] for name in ("recorded_score", "recorded_band", "recorded_decision")}
        outputs |= {"score": self._rescored.scores, "band": band, "decision": self._rescored.decisions}
        kept = {name: self._base[name] for name in _KEPT}
        return kept | {"fate": _FATE_NAMES[self._codes]} | verdicts | outputs | self._vectors

    def run(self) -> None:
        """Compare all decisions: those of known feature sets, those of others, and those without a transaction."""
        fingerprints = _objects(self._base["fingerprint"])
        exists, is_known = self._codes != NO_TRANSACTION, np.zeros(len(self.numbers), np.bool_)
        saw_erased = np.asarray(self._base["saw_erased"], np.bool_)
        self._check_record(np.flatnonzero(exists & saw_erased), Reason.ERASED)
        exists &= ~saw_erased
        absent = ~exists & ~saw_erased
        for fingerprint in self._workdir.sets.by_fingerprint:
            is_its = fingerprints == fingerprint
            is_known |= is_its
            self._compare_with_logs(fingerprint, np.flatnonzero(exists & is_its))
        deleted = np.asarray(self._base["is_deleted"], np.bool_)
        self._check_record(np.flatnonzero(exists & ~is_known), Reason.ANOTHER_FINGERPRINT)
        self._check_record(np.flatnonzero(absent & deleted), Reason.BEYOND_RETENTION)
        self._check_record(np.flatnonzero(absent & ~deleted), None)

    def _compare_with_logs(self, fingerprint: str, which: Ints) -> None:
        """Compare decisions of one feature set with the logs."""
        names = self._workdir.sets.by_fingerprint[fingerprint].names
        is_decided, has_vector = self._codes[which] == DECIDE, self._is_vector[which]
        recorded_vectors = self._recorded_vectors(which, len(names))
        log_vectors, is_displaced, nearer_vectors = self._log_vectors(fingerprint, which, recorded_vectors)
        log_vectors[~is_decided] = np.nan
        for at, name in enumerate(names):
            self._vectors[name][which] = log_vectors[:, at]
        models = self._models.of(which)
        outputs, is_rescored = rescore(models, names, log_vectors)
        for target, values in zip(self._rescored, outputs.of(is_decided), strict=True):
            target[which[is_decided]] = values
        is_foreign = ~has_vector & np.array([self._features[row] is not None for row in which.tolist()], np.bool_)
        flags = (has_vector, is_decided, is_rescored, is_foreign, is_displaced, self._is_undecidable[which])
        vectors = (recorded_vectors, log_vectors, nearer_vectors)
        compared = ComparedDecisions(*vectors, self._recorded.of(which), outputs, *flags)
        again = compared.differing_features().any(axis=1) | (~is_decided & has_vector)
        from_record, _ = rescore(models.of(np.flatnonzero(again)), names, recorded_vectors[again])
        for target, values in zip(outputs, from_record, strict=True):
            target[again] = values
        unequal = compared.not_equal()
        if unequal.any():
            explainer = Explainer(self._workdir, self._workdir.sets.by_fingerprint[fingerprint])
            self._set_lines(
                which[unequal], list(judge(names, compared.of(unequal), explainer, self._rows(which[unequal])))
            )

    def _log_vectors(self, fingerprint: str, which: Ints, recorded_vectors: Floats) -> tuple[Floats, Flags, Floats]:
        """Return the vectors from the logs, which of them are a displaced record's, and those that may be, too.

        A vector from the search for displaced records is taken if it equals the recorded one: there is no other sign
        that a record was displaced. One that does not is taken by `judge`, if other reasons explain what differs.
        """
        vectors, is_displaced = block_vectors(self._workdir, self._number, fingerprint), np.zeros(len(which), np.bool_)
        found, feature_set = vectors[which], self._workdir.sets.by_fingerprint[fingerprint]
        nearer = found.copy()
        is_later = np.array([one is True for one in self._base["is_later_epoch"].tolist()], np.bool_)[which]
        for kind in self._workdir.others if self._workdir.is_searched else ():
            columns = columns_of(feature_set, kind)
            searched = vectors.copy()
            fill_vectors(self._workdir, self._number, fingerprint, (kind, searched), displaced=True)
            candidates = searched[which][:, columns]
            differs = different(found[:, columns], recorded_vectors[:, columns]).any(axis=1)
            fits = is_later & differs & ~different(candidates, recorded_vectors[:, columns]).any(axis=1)
            found[np.ix_(np.flatnonzero(fits), columns)] = candidates[fits]
            nearer[np.ix_(np.flatnonzero(is_later & differs), columns)] = candidates[is_later & differs]
            is_displaced |= fits
        return found, is_displaced, nearer

    def _recorded_vectors(self, which: Ints, width: int) -> Floats:
        """Return the recorded vectors; NaN where there is none."""
        vectors = np.full((len(which), width), np.nan)
        for at, row in enumerate(which.tolist()):
            if self._is_vector[row]:
                vectors[at] = np.frombuffer(bytes(self._features[row]), np.float64)
        return vectors

    def _rows(self, which: Ints) -> DifferingRows:
        counts = {kind: visible_counts(self._workdir, self._number, kind)[which] for kind in self._workdir.entities}
        return DifferingRows({name: values[which] for name, values in self._base.items()}, self.numbers[which], counts)

    def _check_record(self, which: Ints, reason: Reason | None) -> None:
        """Check decisions by their recorded features alone, for this reason; None: their transaction should exist."""
        has_features = np.array([self._features[row] is not None for row in which.tolist()], np.bool_)
        outputs, is_rescored = no_outputs(len(which)), ~has_features
        features = [self._recorded_features(row) for row in which[has_features].tolist()]
        again, again_rescored = rescore_recorded(self._models.of(which[has_features]), features)
        for target, values in zip(outputs, again, strict=True):
            target[has_features] = values
        is_rescored[has_features] = again_rescored
        for target, values in zip(outputs, self._recorded.of(which[~has_features]), strict=True):
            target[~has_features] = values  # nothing can be rescored, so nothing counts as different
        no_vectors = np.empty((len(which), 0))
        yes = np.ones(len(which), np.bool_)
        flags = (has_features, yes, is_rescored, ~yes, ~yes, self._is_undecidable[which])
        compared = ComparedDecisions(no_vectors, no_vectors, no_vectors, self._recorded.of(which), outputs, *flags)
        lines = [VerdictLine() for _ in which]
        for at, line in enumerate(lines):
            line.add_reason(reason) if reason else line.add_difference(TRANSACTION, ("decided", None), None)
            compare_outputs(line, compared, at, None)
        self._set_lines(which, lines)

    def _recorded_features(self, row: int) -> dict[str, float | None]:
        """Return recorded features by name."""
        packed = bytes(self._features[row])
        if not self._is_vector[row]:
            found: dict[str, float | None] = msgspec.json.decode(packed)
            return found
        names = self._workdir.sets.by_fingerprint[str(self._base["fingerprint"][row])].names
        return dict(zip(names, np.frombuffer(packed, np.float64).tolist(), strict=True))

    def _set_lines(self, which: Ints, lines: list[VerdictLine]) -> None:
        for row, line in zip(which.tolist(), lines, strict=True):
            self._lines[row] = line.texts()


def _objects(values: Any) -> Objects:  # noqa: ANN401 - an array, masked or not
    return np.array(values.tolist(), object)
