"""Probe histories: the records that a few payments saw, by which another machine checks that it computes the same.

Those of an artifact are invented (`fraudstream.lab.training.probe_histories`) and checked when it is loaded; those of a
vectors file are of its own payments.
"""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec
import numpy as np

from features.declaration import FeatureSet
from features.errors import FormulaError
from features.history.records import (
    CARD_COLUMNS,
    COLUMNS,
    OTHER,
    SHARED_COLUMNS,
    has_hash_key,
    keyless_prediction_name_hash,
    prediction_name_hash,
)
from features.history.store import NOWHERE, Entity, Fate, Histories, Ints, Observed, Transactions
from features.vector.sets import FeatureSets
from features.vector.vectorise import vectorise
from models.errors import ProbeError
from models.expected import without_pattern
from models.loading import VectoriseProbe
from models.policy import Floats

Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
Record = Annotated[tuple[Whole, ...], msgspec.Meta(min_length=SHARED_COLUMNS, max_length=CARD_COLUMNS)]
History = Annotated[tuple[Record, ...], msgspec.Meta(min_length=1)]


class Probe(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One transaction and the records that it saw, its own record last, as rows of `features.history.records`.

    `told` lists the kinds of entity whose history contains the transaction's own record, in the order of the histories:
    a set would be encoded in another order by each process, and the artifact would get another digest. Place, traits
    and the values of its own fields are there for sets that read them.
    """

    occurred_ms: Whole
    utc_offset_minutes: Whole
    amount_minor: Whole
    exponent: Whole
    histories: dict[str, History]
    told: tuple[str, ...]
    place: Whole = 0
    traits: Whole = 0
    own: dict[str, Whole | str] | None = None


_DECODER = msgspec.json.Decoder(Probe)


def write_probe(transactions: Transactions, observed: Observed, row: int, *, with_fields: bool = False) -> bytes:
    """Encode what transaction `row` of a batch saw, and its own fields where a set reads them, as JSON."""
    own = {} if transactions.own is None else transactions.own[row]
    fields: dict[str, Any] = {
        "place": int(transactions.place[row]),
        "traits": int(transactions.traits[row]),
        "own": {name: own[name] for name in sorted(own)},
    }
    return msgspec.json.encode(
        Probe(
            occurred_ms=int(transactions.occurred_ms[row]),
            utc_offset_minutes=int(transactions.utc_offset_minutes[row]),
            amount_minor=int(transactions.amount_minor[row]),
            exponent=int(transactions.exponent[row]),
            histories={kind.value: _records(one, row) for kind, one in observed.histories.items()},
            told=tuple(kind.value for kind, one in observed.histories.items() if one.positions[row] != NOWHERE),
            **(fields if with_fields else {}),
        )
    )


def probe_vectorisers(sets: FeatureSets) -> Mapping[str, VectoriseProbe]:
    """Return the probe function of each feature set that is computed here, by fingerprint."""
    return {one.fingerprint: vectorise_probe(one) for one in sets.sets}


def vectorise_probe(feature_set: FeatureSet) -> VectoriseProbe:
    """Return the function with which `models.loading` checks that this machine computes an artifact's vectors."""

    def vectorise_all(histories: Sequence[bytes]) -> Floats:
        try:
            probes = [_DECODER.decode(history) for history in histories]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ProbeError(f"a probe history cannot be read: {without_pattern(error)}") from error
        observed = _observed(probes, tuple(feature_set.horizons_ms))
        if feature_set.prediction_delays_ms and has_hash_key():
            _hash_by_key(observed.histories[Entity.PREDICTION].rows, tuple(feature_set.prediction_delays_ms))
        try:
            return vectorise(feature_set, _transactions(probes), observed)
        except FormulaError as error:
            raise ProbeError(f"a probe's vector cannot be computed: {error}") from error

    return vectorise_all


def _hash_by_key(predictions: Ints, names: Sequence[str]) -> None:
    """Put the hashes of these names by this process's key in place of those that an artifact holds, without one."""
    stored = predictions[:, OTHER].copy()
    for name in names:
        predictions[stored == keyless_prediction_name_hash(name), OTHER] = prediction_name_hash(name)


def _records(histories: Histories, row: int) -> tuple[tuple[int, ...], ...]:
    end = int(histories.lengths[: row + 1].sum())
    start = end - int(histories.lengths[row])
    return tuple(tuple(record) for record in histories.rows[start:end].tolist())


def _transactions(probes: list[Probe]) -> Transactions:
    count = len(probes)
    zeros = np.zeros(count, np.int64)
    return Transactions(
        transaction_ids=[str(number) for number in range(count)],
        card_ids=[""] * count,
        merchant_ids=[""] * count,
        occurred_ms=_column(probes, "occurred_ms"),
        utc_offset_minutes=_column(probes, "utc_offset_minutes"),
        amount_minor=_column(probes, "amount_minor"),
        exponent=_column(probes, "exponent"),
        content=np.zeros(count, np.uint64),
        partition=zeros,
        offset=zeros,
        device_ids=[None] * count,
        place=_column(probes, "place"),
        traits=_column(probes, "traits"),
        own=[one.own or {} for one in probes],
    )


def _observed(probes: list[Probe], kinds: Sequence[Entity]) -> Observed:
    return Observed(
        fates=[Fate.DECIDE] * len(probes),
        histories={kind: _histories(probes, kind) for kind in kinds},
        history_epoch=1,
        incomplete=False,
    )


def _histories(probes: list[Probe], kind: Entity) -> Histories:
    try:
        histories = [probe.histories[kind.value] for probe in probes]
        records = np.array([record for history in histories for record in history], np.int64)
        rows = records.reshape(-1, COLUMNS[kind])
    except (KeyError, ValueError) as error:
        raise ProbeError(f"a probe history holds no {kind.value}'s records of this version: {error}") from error
    lengths = np.array([len(history) for history in histories], np.int64)
    return Histories(
        rows, lengths, np.array([0 if kind.value in probe.told else NOWHERE for probe in probes], np.int64)
    )


def _column(probes: list[Probe], name: str) -> Ints:
    return np.array([getattr(probe, name) for probe in probes], np.int64)
