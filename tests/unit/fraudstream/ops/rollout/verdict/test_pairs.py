"""Decisions and their comparisons: which belong together, and the ids of the largest swaps."""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.ops.rollout.outcomes.columns import CODES, ColumnNames
from fraudstream.ops.rollout.outcomes.labels import payment_hash
from fraudstream.ops.rollout.verdict.pairs import PairCollector
from fraudstream_client.outputs import Decision
from shadow.comparison import Comparison, Side, Source, encode_comparison
from support.outcome_cases import LIVE_DIGEST, Payment, payment_rows
from support.verdict_cases import CHALLENGER_DIGEST

PLACE = Source("transactions", 0, 0)


def comparison(name: str, **changes: Any) -> bytes:
    live = Side(LIVE_DIGEST, 0.25, 500, Decision.APPROVE)
    one = Comparison(
        deployment="default",
        transaction_id=name,
        card_id="card",
        occurred_at="2026-01-02T00:00:00.000Z",
        amount_minor=1_000,
        currency="EUR",
        live=live,
        challenger=Side(CHALLENGER_DIGEST, 0.5, 600, Decision.REVIEW),
        decision_changed=True,
        revision=1,
        source=PLACE,
        compared_at="2026-01-02T00:00:00.012Z",
    )
    return encode_comparison(msgspec.structs.replace(one, **changes))


def collector() -> PairCollector:
    return PairCollector("default", CHALLENGER_DIGEST, ColumnNames(["EUR"], ["live"], [LIVE_DIGEST]))


def decisions(*names: str, said: str = "approve") -> np.ndarray:
    return payment_rows([Payment("card", 1.0, said, said, name=name) for name in names])


def test_a_decision_is_joined_with_its_comparison() -> None:
    found = collector()
    found.add([comparison("t-1"), comparison("t-3")])
    pairs = found.pairs(decisions("t-1", "t-2"))
    assert pairs.rows["payment"].tolist() == [payment_hash("card", "t-1")]
    assert (pairs.live.tolist(), pairs.challenger.tolist()) == ([CODES[Decision.APPROVE]], [CODES[Decision.REVIEW]])
    assert (pairs.live_scores.tolist(), pairs.challenger_scores.tolist()) == ([0.25], [0.5])
    assert pairs.lags_ms.tolist() == [7]
    assert pairs.differ.tolist() == [True]


@pytest.mark.parametrize(
    "changes",
    [
        {"revision": 2},
        {"live": Side("e" * 64, 0.25, 500, Decision.APPROVE)},
        {"live": Side(LIVE_DIGEST, 0.25, 500, Decision.DECLINE)},
        {"deployment": "green"},
        {"challenger": Side("e" * 64, 0.5, 600, Decision.REVIEW)},
        {"card_id": "other"},
    ],
)
def test_a_comparison_of_another_decision_is_not_joined(changes: Any) -> None:
    found = collector()
    found.add([comparison("t-1", **changes), b"", b"{}", None])
    assert len(found.pairs(decisions("t-1")).rows) == 0


def test_of_a_canary_the_decision_is_the_challengers() -> None:
    found, rows = collector(), decisions("t-1", said="review")
    rows["model"] = 1
    found.names.models.append(CHALLENGER_DIGEST)
    found.add([comparison("t-1", arm="canary")])
    pairs = found.pairs(rows)
    assert (pairs.live.tolist(), pairs.challenger.tolist()) == ([CODES[Decision.APPROVE]], [CODES[Decision.REVIEW]])
    assert pairs.opponents.tolist() == [0]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(1, 3)), max_size=25), st.sets(st.integers(0, 9)))
def test_every_decision_gets_its_first_comparison_once(made: Any, decided: set[int]) -> None:
    found = collector()
    found.add(
        [
            comparison(f"t-{name}", revision=revision, compared_at=f"2026-01-02T00:00:{at:02}.000Z")
            for at, (name, revision) in enumerate(made)
        ]
    )
    firsts: dict[int, int] = {}
    for at, (name, revision) in enumerate(made):
        if revision == 1:
            firsts.setdefault(name, at)
    names = sorted(decided)
    pairs = found.pairs(decisions(*(f"t-{name}" for name in names)))
    lags = dict(zip(pairs.rows["payment"].tolist(), pairs.lags_ms.tolist(), strict=True))
    expected = {payment_hash("card", f"t-{one}"): firsts[one] * 1_000 - 5 for one in names if one in firsts}
    assert lags == expected


def test_the_ids_of_the_largest_swaps_are_kept() -> None:
    found = collector()
    found.add([comparison(f"t-{at}", amount_minor=at) for at in range(500)])
    found.add([comparison("same", amount_minor=10**6, decision_changed=False)])
    names = {ids.transaction_id for ids in found.ids("EUR").values()}
    assert names == {f"t-{at}" for at in range(300, 500)}
    assert found.ids("JPY") == {}
