"""How cost grows: sets of every size can be built, and figures are shown as they were measured."""

from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.contenders.scorers import Payment, decoded
from benchmarks.growth import stages
from benchmarks.growth.caches import by_payments
from benchmarks.growth.cards import BEGAN_MS, RECORDS, CardSupply, card_name, stored_rows
from benchmarks.growth.memory import growth_an_hour
from benchmarks.growth.series import GrowthPoint
from benchmarks.growth.stages import FEATURES, by_records
from features.declaration import DAY_MS, FeatureSet
from features.history.frames import Floats
from features.history.records import FLAGS, ID, STORED, TIME, are_valid, card_hash, is_transaction
from features.history.store import Entity, Observed, Transactions
from features.redis.cache import CachedHistory
from features.vector.sets import load_sets


@pytest.mark.parametrize("count", FEATURES)
def test_sets_of_every_size_that_is_measured_can_be_built(count: int) -> None:
    assert len(FeatureSet(stages._rows(load_sets("").newest.rows, count)).names) == count


def test_a_payment_is_measured_whose_histories_have_as_many_records_as_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "RECORDS", (0, 7))
    monkeypatch.setattr(stages, "_SECONDS", 0.0)
    lengths: list[int] = []
    vectorise = stages.vectorise

    def counted(feature_set: FeatureSet, transactions: Transactions, observed: Observed) -> Floats:
        matrix = vectorise(feature_set, transactions, observed)
        lengths.append(int(matrix[0, feature_set.names.index("card_count_30d")]))
        return matrix

    monkeypatch.setattr(stages, "vectorise", counted)
    points = by_records().points
    assert [point.size for point in points] == [0, 7]
    assert set(lengths) == {1, 2, 8, 9}, "own record counts, too; and before the first of a batch the payment alone"
    assert all(value > 0 for point in points for value in point.values)


def test_payments_of_many_cards_are_of_each_card_once_and_then_of_random_ones() -> None:
    supply = CardSupply(200, 7)
    first, then = supply.once_each(150), supply.at_random(400)
    assert len({one.key for one in first}) == len(first) == 150
    assert 100 < len({one.key for one in then}) <= 200
    columns = decoded([Payment(one.key, one.value) for one in (*first, *then)])
    assert columns.card_ids == [one.key.decode() for one in (*first, *then)]
    assert len(set(columns.transaction_ids)) == 550
    assert columns.occurred_ms[0] == BEGAN_MS
    assert (np.diff(columns.occurred_ms) > 0).all()


def test_histories_that_are_written_at_once_are_those_of_a_worker() -> None:
    rows = stored_rows(7)
    history = CachedHistory(Entity.CARD, card_hash(card_name(3)), card_name(3), b"key")
    assert history.load(history.header() + rows.astype(STORED).tobytes())
    assert history.length == RECORDS
    assert are_valid(rows)
    assert is_transaction(rows[:, FLAGS]).all()
    assert (np.diff(rows[:, TIME]) > 0).all()
    assert rows[0, TIME] > BEGAN_MS - 28 * DAY_MS
    assert rows[-1, TIME] < BEGAN_MS
    assert len(set(rows[:, ID].tolist())) == RECORDS


def samples(mib: Sequence[float]) -> list[GrowthPoint]:
    """Return one sample every half minute, from the start on."""
    return [GrowthPoint(30 * at, (value, 3_000.0 * at)) for at, value in enumerate(mib)]


def test_growth_is_the_slope_of_the_second_half() -> None:
    filling, flat, growing = [100 + 10.0 * at for at in range(60)], [700.0] * 61, [700 + at / 10 for at in range(61)]
    assert growth_an_hour(samples(filling + flat)) == pytest.approx(0.0, abs=1e-9)
    assert growth_an_hour(samples(filling + growing)) == pytest.approx(12.0)


@pytest.mark.acceptance
def test_what_cached_histories_hold_stays_below_their_limit_while_payments_are_decided() -> None:
    small, large = (by_payments(6_000, mib) for mib in (1, 512))
    assert [point.size for point in small.points] == [256, *range(500, 6_001, 500)]
    assert small.points[-1].values[1] <= 1 < large.points[-1].values[1]
