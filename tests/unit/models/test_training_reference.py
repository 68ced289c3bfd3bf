"""The reference in a manifest: against pandas-free recounts, its size, and that older artifacts keep their digest."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.artifact import MANIFEST, Manifest, digest_of, read_manifest
from models.policy import Policy
from models.training_reference import (
    DAY_MS,
    QuantityReference,
    ReferenceRows,
    TrainingReference,
    bins_of,
    build_reference,
)
from support.model_artifacts import artifact

MONDAY = 20_458
POLICY = Policy(0.5, 0.9)


def rows(count: int = 6_000, width: int = 3, *, seed: int = 1) -> ReferenceRows:
    random = np.random.default_rng(seed)
    card = random.integers(count // 4, size=count)
    matrix = random.normal(size=(count, width)) + random.normal(size=count // 4)[card][:, np.newaxis]
    matrix[random.random(count) < 0.2, 0] = np.nan
    matrix[:, 1] = np.round(matrix[:, 1])
    days = MONDAY + random.integers(14, size=count)
    return ReferenceRows(matrix, np.arange(count), random.random(count), card, days * DAY_MS)


def test_counts_by_decile_are_those_of_a_recount() -> None:
    seen = rows()
    found = build_reference(seen, POLICY)
    assert (found.rows, len(found.features)) == (6_000, 3)
    assert found.cards == len(set(seen.cards.tolist()))
    days = (seen.occurred_ms // DAY_MS - MONDAY) % 7
    for at, quantity in enumerate((*found.features, found.score)):
        values = seen.matrix[:, at] if at < 3 else seen.scores
        for kind, counts in ((days < 5, quantity.workdays), (days >= 5, quantity.weekends)):
            expected = [0] * len(counts)
            for value in values[kind].tolist():
                place = sum(edge < value for edge in quantity.edges)
                expected[len(counts) - 1 if value != value else place] += 1  # noqa: PLR0124 - NaN
            assert list(counts) == expected
    first = np.add(found.features[0].workdays, found.features[0].weekends)
    assert first[:-1] / first[:-1].sum() == pytest.approx(np.full(10, 0.1), abs=0.01)
    assert found.decisions is not None
    decided = np.add(found.decisions.workdays, found.decisions.weekends)
    approved, declined = int((seen.scores < 0.5).sum()), int((seen.scores >= 0.9).sum())
    assert decided.tolist() == [approved, 6_000 - approved - declined, declined, 0]
    assert sum(found.bands) == 6_000


def test_alike_payments_of_a_card_give_a_design_effect_and_independent_ones_none() -> None:
    alone = rows()
    independent = alone._replace(matrix=np.random.default_rng(2).normal(size=(6_000, 1)), scores=alone.scores)
    alike = alone._replace(matrix=np.random.default_rng(3).normal(size=1_500)[alone.cards][:, np.newaxis])
    assert build_reference(independent, POLICY).features[0].design_effect < 1.3
    assert build_reference(alike, POLICY).features[0].design_effect == pytest.approx(5.0, rel=0.3)


def test_what_is_usual_is_how_far_the_days_of_the_reference_itself_lie_apart() -> None:
    seen = rows(20_000)
    steady = build_reference(seen, POLICY).features[2].usual
    day = seen.occurred_ms // DAY_MS - MONDAY
    moving = seen._replace(matrix=seen.matrix + 0.2 * day[:, np.newaxis])
    assert steady < 0.02
    assert build_reference(moving, POLICY).features[2].usual > 0.5


def test_weekends_are_mixed_as_a_window_has_them_where_both_are_known() -> None:
    both = QuantityReference(edges=(0.0,), workdays=(900, 100, 0), weekends=(500, 500, 0), design_effect=1, usual=0)
    assert both.shares(0.0).tolist() == [0.9, 0.1, 0.0]
    assert both.shares(1.0).tolist() == [0.5, 0.5, 0.0]
    assert both.shares(0.5) == pytest.approx([0.7, 0.3, 0.0])
    few = QuantityReference(edges=(0.0,), workdays=(900, 100, 0), weekends=(50, 50, 0), design_effect=1, usual=0)
    assert few.shares(1.0) == pytest.approx([950 / 1_100, 150 / 1_100, 0.0])


@pytest.mark.parametrize("weekend_share", [0.0, 0.3, 1.0])
def test_the_covariance_of_the_mixture_is_that_of_drawn_references(weekend_share: float) -> None:
    random = np.random.default_rng(1)
    drawn = [
        QuantityReference(
            edges=(0.0,),
            workdays=tuple(random.multinomial(9_000, [0.7, 0.2, 0.1]).tolist()),
            weekends=tuple(random.multinomial(1_200, [0.3, 0.3, 0.4]).tolist()),
            design_effect=1.0,
            usual=0.0,
        )
        for _ in range(2_000)
    ]
    spread = np.cov([one.shares(weekend_share) for one in drawn], rowvar=False)
    stated = np.mean([one.covariance(weekend_share) for one in drawn], axis=0)
    assert np.diag(stated) == pytest.approx(np.diag(spread), rel=0.12)
    assert msgspec.structs.replace(drawn[0], design_effect=3.0).covariance(weekend_share) == pytest.approx(
        3 * drawn[0].covariance(weekend_share)
    )


@given(st.lists(st.floats(allow_nan=True), max_size=30), st.lists(st.floats(-5, 5), unique=True, max_size=6))
def test_each_value_has_the_bin_that_counting_edges_gives(values: Any, edges: Any) -> None:
    ordered = tuple(sorted(edges))
    expected = [
        len(ordered) + 1 if value != value else sum(edge < value for edge in ordered)  # noqa: PLR0124 - NaN
        for value in values
    ]
    assert bins_of(np.array(values, float), ordered).tolist() == expected


def test_the_same_rows_give_the_same_and_it_survives_json() -> None:
    found = build_reference(rows(), POLICY)
    assert build_reference(rows(), POLICY) == found
    assert msgspec.json.decode(msgspec.json.encode(found), type=TrainingReference) == found


def test_it_takes_some_400_bytes_a_feature() -> None:
    found = build_reference(rows(60_000, 46), POLICY)
    assert len(msgspec.json.encode(found)) < 46 * 450 + 2_000


def test_artifacts_without_it_keep_their_bytes_and_a_wrong_one_is_refused() -> None:
    contents = artifact()
    assert b"reference" not in contents[MANIFEST]
    manifest = read_manifest(contents[MANIFEST])
    assert msgspec.json.encode(manifest, order="deterministic") + b"\n" == contents[MANIFEST]
    with_it = msgspec.structs.replace(manifest, reference=build_reference(rows(), POLICY))
    encoded = msgspec.json.encode(with_it, order="deterministic") + b"\n"
    assert read_manifest(encoded) == with_it
    assert digest_of(contents | {MANIFEST: encoded}) != digest_of(contents)
    fields = msgspec.to_builtins(with_it)
    fields["reference"]["features"] = fields["reference"]["features"][:2]
    with pytest.raises(msgspec.ValidationError, match="one distribution for each"):
        msgspec.convert(fields, Manifest)


def test_counts_that_do_not_fit_the_edges_are_refused() -> None:
    with pytest.raises(ValueError, match="two more than edges"):
        QuantityReference(edges=(0.0,), workdays=(1, 1), weekends=(1, 1), design_effect=1, usual=0)
    with pytest.raises(ValueError, match="all are 0"):
        QuantityReference(edges=(), workdays=(0, 0), weekends=(0, 0), design_effect=1, usual=0)


def test_gains_make_importances_and_a_reference_without_them_keeps_its_bytes() -> None:
    seen = rows()
    plain, found = (
        build_reference(seen, POLICY),
        build_reference(seen._replace(gains=np.array([3.0, 1.0, 0.0])), POLICY),
    )
    assert [one.importance for one in found.traits] == [0.75, 0.25, 0.0]
    assert all(one.usual_rest >= 0 for one in found.traits)
    assert b"traits" not in msgspec.json.encode(plain)
    assert msgspec.json.decode(msgspec.json.encode(found), type=TrainingReference) == found


def test_rare_values_are_as_usual_as_the_windows_with_least_of_them() -> None:
    days = np.repeat(np.arange(MONDAY, MONDAY + 5), 2_000)
    random, cards = np.random.default_rng(2), np.tile(np.arange(2_000), 5)
    rare = np.where(days == MONDAY + 2, 0.01, 0.04)
    matrix = (random.random(len(days)) < rare).astype(float)[:, np.newaxis]
    seen = ReferenceRows(matrix, np.arange(len(days)), random.random(len(days)), cards, days * DAY_MS, gains=np.ones(1))
    (found,) = build_reference(seen, POLICY).traits
    share = float(matrix.mean())
    least = float(matrix[days == MONDAY + 2].mean())
    index = (least - share) * np.log(least / share) + (share - least) * np.log((1 - least) / (1 - share))
    assert 0.5 * index < found.usual_rest < index
