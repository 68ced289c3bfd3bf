"""The invented histories show each feature wrong that looks back a second too far, or forgets what it reads."""

import re
from dataclasses import replace
from functools import cache
from typing import Any

import msgspec
import numpy as np
import pytest

from features.declaration import SECOND_MS, Feature, FeatureSet, load
from features.errors import DeclarationError, FormulaError
from features.formulas import Formula
from features.history import records
from features.history.store import Entity
from features.rows import card
from features.vector.sets import DEFAULT_MODULES
from fraudstream.lab.training.probe_histories import FIRST_MS, invented_histories
from models.artifact import ProbeHistories, matrix_of, same_bits
from stream.control.probes import vectorise_probe
from support.features.prediction_set import FEATURES as WITH_PREDICTIONS
from support.features.recount import everything

SETS = {
    **{name: load(name) for name in (*DEFAULT_MODULES, "features.extended_set", "features.hot_merchants_set")},
    "every aggregate": everything(),
    "predictions": FeatureSet(WITH_PREDICTIONS),
    "own fields": load("support.features.own_fields_set"),
}


@cache
def invented(name: str) -> tuple[ProbeHistories, np.ndarray, list[dict[str, Any]]]:
    """Return the probes of a set, their matrix, and the histories as plain values."""
    found = invented_histories(SETS[name])
    matrix = matrix_of(found.vectors, len(SETS[name]))
    return found, matrix, [msgspec.json.decode(bytes(one)) for one in found.histories]


def again(name: str, rows: tuple[Feature, ...] | None = None) -> np.ndarray:
    """Compute some features of the invented histories of a set."""
    computed = FeatureSet(rows, SETS[name].fields) if rows is not None else SETS[name]
    return vectorise_probe(computed)([bytes(one) for one in invented(name)[0].histories])


def records_of(name: str, kind: str) -> np.ndarray:
    """Return all invented records of one kind of history, of shape (n, columns)."""
    return np.array([record for probe in invented(name)[2] for record in probe["histories"].get(kind, ())], np.int64)


@pytest.mark.parametrize("name", SETS)
def test_the_histories_give_their_vectors_again_and_are_small(name: str) -> None:
    found, matrix, _ = invented(name)
    assert same_bits(again(name), matrix)
    assert 30 < len(found.histories) <= 300
    assert sum(len(bytes(one)) for one in found.histories) < 600_000


@pytest.mark.parametrize("name", SETS)
def test_no_feature_is_the_same_in_all_of_them(name: str) -> None:
    matrix = invented(name)[1]
    values = {at: np.unique(column[~np.isnan(column)]) for at, column in enumerate(matrix.T)}
    assert [SETS[name].names[at] for at, distinct in values.items() if len(distinct) < 2] == []


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize(
    ("window", "delay"), [(1, 0), (-1, 0), (-1, 1), (1, -1)], ids=["longer", "shorter", "later", "earlier"]
)
def test_a_window_that_is_a_second_too_long_or_too_short_at_either_end_is_noticed(
    name: str, window: int, delay: int
) -> None:
    changed: dict[str, tuple[int, Feature]] = {}
    for at, row in enumerate(SETS[name].rows):
        if row.window_ms is None:
            continue
        step = row.resolution_ms if row.is_paned else SECOND_MS
        try:
            other = replace(row, window_ms=row.window_ms + window * step, delay_ms=row.delay_ms + delay * step)
        except DeclarationError:  # without a delay there is none to shorten
            continue
        changed.setdefault(other.name, (at, other))
    computed = again(name, tuple(row for _, row in changed.values()))
    columns = zip(computed.T, changed.values(), strict=True)
    missed = [SETS[name].names[at] for column, (at, _) in columns if same_bits(column, invented(name)[1][:, at])]
    assert missed == []


FORGOTTEN = {
    "labels": (records.FLAGS, ~records.FRAUD_BIT, r"fraud"),
    "decimals of currencies": (records.FLAGS, ~(records.EXPONENT_MASK << records.EXPONENT_SHIFT), r"_amount_(sum|max)"),
    "devices": (records.DEVICE, 0, r"card_device"),
    "places": (records.PLACE, 0, r"distance|speed"),
    "countries": (records.TRAITS, ~records.COUNTRY.mask, r"countr"),
    "categories": (records.TRAITS, ~records.CATEGORY.mask, r"category"),
    "channels": (records.TRAITS, ~records.CHANNEL.mask, r"channel"),
    "wall clocks": (records.TRAITS, ~records.CLOCK.mask, r"time_of_day"),
    "currencies": (records.TRAITS, ~records.CURRENCY.mask, r"amount_repeated"),
}


@pytest.mark.parametrize("what", FORGOTTEN)
def test_an_implementation_that_forgets_a_part_of_the_records_is_noticed(what: str) -> None:
    """Whatever is read of a record, the histories have records in which it matters, for each feature that reads it."""
    column, mask, features = FORGOTTEN[what]
    name, probes = "every aggregate", []
    for probe in invented(name)[2]:
        for kind, history in probe["histories"].items():
            if column < records.COLUMNS[Entity(kind)]:
                kept = np.array(history, np.int64)
                kept[:, column] &= mask
                probe = probe | {"histories": probe["histories"] | {kind: kept.tolist()}}  # noqa: PLW2901
        probes.append(msgspec.json.encode(probe))
    computed, expected = vectorise_probe(SETS[name])(probes), invented(name)[1]
    names = SETS[name].names
    reads = [at for at, one in enumerate(names) if re.search(features, one)]
    assert reads
    assert [names[at] for at in reads if same_bits(computed[:, at], expected[:, at])] == []


def test_some_records_came_late_some_are_later_than_the_payment_and_some_labels_are_not_known_yet() -> None:
    late, later, unknown = 0, 0, 0
    for probe in invented("every aggregate")[2]:
        rows = np.array(probe["histories"]["card"], np.int64)
        payments = rows[records.is_transaction(rows[:, records.FLAGS])]
        late += int((np.diff(payments[:-1, records.TIME]) < 0).sum())
        later += int((payments[:, records.TIME] > probe["occurred_ms"]).sum())
        labels = rows[records.is_label(rows[:, records.FLAGS])]
        unknown += int((labels[:, records.TIME] > probe["occurred_ms"]).sum())
    assert min(late, later, unknown) > 10


def test_the_times_are_older_than_any_payment_and_the_ids_are_nobodys() -> None:
    for name in SETS:
        for kind in ("card", "merchant", "device"):
            rows = records_of(name, kind)
            if len(rows):
                times = rows[records.is_transaction(rows[:, records.FLAGS])][:, records.TIME]
                assert times.max() < FIRST_MS + 2 * 366 * 86_400_000, "2001 and 2002"
    known = {records.merchant_hash(f"probe-shop-{number}") for number in range(1, 5)}
    cards = records_of("every aggregate", "card")
    payments = cards[records.is_transaction(cards[:, records.FLAGS])]
    assert set(payments[:, records.OTHER].tolist()) == known


def test_a_keyed_worker_finds_the_predictions_of_an_artifact() -> None:
    """An artifact has hashes of names without a key, and the worker's own differ."""
    expected = invented("predictions")[1]
    names = SETS["predictions"].names
    read = [at for at, name in enumerate(names) if name.startswith("prediction_")]
    assert not np.isnan(expected[:, read]).all(axis=0).any()
    try:
        records.use_hash_key(b"a deployment's own")
        assert same_bits(again("predictions"), expected)
    finally:
        records.use_hash_key(b"")


def fails_on_large_amounts(own: Any, _others: Any) -> float:
    if own.amount > 100:
        raise ValueError("too large")
    return 1.0


def fails(_own: Any, _others: Any) -> float:
    raise ValueError("never")


def test_a_history_that_a_formula_cannot_compute_with_is_left_out_unless_that_is_all_of_them() -> None:
    some = FeatureSet((card("count", "1d"), card(Formula("small", 1, fails_on_large_amounts, "u", "m"), "1d")))
    found = invented_histories(some)
    assert 0 < len(found.histories) < len(invented_histories(FeatureSet((card("count", "1d"),))).histories)
    assert same_bits(vectorise_probe(some)([bytes(one) for one in found.histories]), matrix_of(found.vectors, 2))
    with pytest.raises(FormulaError, match="never"):
        invented_histories(FeatureSet((card(Formula("none", 1, fails, "u", "m"), "1d"),)))
