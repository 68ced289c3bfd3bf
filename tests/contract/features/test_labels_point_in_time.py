"""What each kind of label answers, and what a merchant's risk is before and after it: at every store alike.

X is the labelled transaction's time. The risk is asked by other cards between X + 7 d, where the label delay ends, and
X + 8 d, where the window of a day does.
"""

from collections.abc import Callable, Sequence

import pytest

from features.aggregates import Aggregate
from features.declaration import DAY_MS, HOUR_MS, FeatureSet
from features.default_set import FEATURES
from features.history.store import HistoryStore, Label, LabelResult, LabelStatus
from features.rows import merchant
from features.vector.vectorise import vectorise
from support.features.recount import Row, label, transaction, transactions
from support.features.stores import DEFAULT, STORES, Servers, opened

Pick = Callable[[], HistoryStore]

LABELLED = transaction(1)
X = int(LABELLED["ms"])
ASKED = X + 7 * DAY_MS
HORIZON = 37 * DAY_MS


class Asking:
    """Asks what a merchant's risk is at some moment, each time by another card."""

    def __init__(self, pick: Pick, feature_set: FeatureSet = DEFAULT) -> None:
        self._pick = pick
        self._features = feature_set
        self._offset = 1_000

    async def observe(self, row: Row) -> dict[str, float]:
        """Observe one transaction and return its features."""
        batch = transactions([row])
        vector = vectorise(self._features, batch, await self._pick().observe(batch))[0]
        return dict(zip(self._features.names, vector.tolist(), strict=True))

    async def risk(self, *at_ms: int, feature: str = "merchant_fraud_share_delayed_1d") -> list[float]:
        """Return the risk at these moments."""
        found = []
        for ms in at_ms:
            self._offset += 1
            row = transaction(self._offset, card=f"asks-{self._offset}", merchant=LABELLED["merchant"], ms=ms)
            found.append((await self.observe(row))[feature])
        return found

    async def label(self, *said: Label) -> list[LabelResult]:
        """Say labels, each in a call of its own."""
        return [one for label_ in said for one in await self._pick().label([label_])]


@pytest.fixture
def asking(pick: Pick) -> Asking:
    return Asking(pick)


def statuses(answers: Sequence[LabelResult]) -> list[str]:
    return [answer.status.value for answer in answers]


async def test_a_label_before_its_transaction_is_unknown_waits_and_counts_once_it_is_there(asking: Asking) -> None:
    (answer,) = await asking.label(label(1, LABELLED, fraud=True, at_ms=ASKED))
    assert (answer.status, answer.merchant_id, answer.merchant_position) == (
        LabelStatus.UNKNOWN_TRANSACTION,
        None,
        None,
    )
    assert await asking.risk(ASKED) == [0.0]
    assert (await asking.observe(LABELLED))["card_count_30d"] == 1.0
    assert await asking.risk(ASKED - 1, ASKED) == [0.0, 1.0]
    again = await asking.label(label(1, LABELLED, fraud=True, at_ms=ASKED))
    assert statuses(again) == ["unknown_transaction"], "a redelivery says what it said first"


async def test_a_label_counts_from_the_moment_since_when_it_is_known(asking: Asking) -> None:
    await asking.observe(LABELLED)
    assert await asking.risk(ASKED, ASKED + HOUR_MS) == [0.0, 0.0]
    assert statuses(await asking.label(label(1, LABELLED, fraud=True, at_ms=ASKED + HOUR_MS))) == ["applied"]
    assert await asking.risk(ASKED, ASKED + HOUR_MS - 1, ASKED + HOUR_MS) == [0.0, 0.0, 1.0]


async def test_a_label_sent_twice_is_repeated_and_changes_nothing(asking: Asking) -> None:
    await asking.observe(LABELLED)
    said = label(1, LABELLED, fraud=True, at_ms=ASKED)
    answers = await asking.label(said, said._replace(offset=2), said._replace(partition=3), said)
    assert statuses(answers) == ["applied", "repeated", "repeated", "applied"]
    assert {answer.card_position for answer in answers} == {1}
    assert await asking.risk(ASKED - 1, ASKED) == [0.0, 1.0]


async def test_corrections_from_fraud_to_genuine_and_back_each_hold_from_their_own_moment(asking: Asking) -> None:
    await asking.observe(LABELLED)
    at = [ASKED + hours * HOUR_MS for hours in (1, 2, 3)]
    verdicts = (True, False, True)
    known, told = [], []
    for offset, (moment, fraud) in enumerate(zip(at, verdicts, strict=True)):
        known += await asking.risk(moment)
        told += await asking.label(label(offset, LABELLED, fraud=fraud, at_ms=moment))
    assert statuses(told) == ["applied", "corrected", "corrected"]
    assert known == [0.0, 1.0, 0.0], "before each"
    assert await asking.risk(at[0] - 1, *at) == [0.0, 1.0, 0.0, 1.0]
    assert await asking.risk(at[1] - 1, at[2] - 1) == [1.0, 0.0]


async def test_a_confirmation_by_somebody_else_is_applied_and_changes_nothing(asking: Asking) -> None:
    await asking.observe(LABELLED)
    first = label(1, LABELLED, fraud=True, at_ms=ASKED)
    later = label(2, LABELLED, fraud=True, at_ms=ASKED + HOUR_MS, reported_by="chargeback")
    assert statuses(await asking.label(first, later)) == ["applied", "applied"]
    assert await asking.risk(ASKED - 1, ASKED, ASKED + HOUR_MS) == [0.0, 1.0, 1.0]


async def test_a_label_older_than_the_last_is_stale_and_holds_only_until_the_last_was_known(asking: Asking) -> None:
    await asking.observe(LABELLED)
    last, older = ASKED + 2 * HOUR_MS, ASKED + HOUR_MS
    assert statuses(await asking.label(label(1, LABELLED, fraud=False, at_ms=last))) == ["applied"]
    assert await asking.risk(older, last) == [0.0, 0.0]
    assert statuses(await asking.label(label(2, LABELLED, fraud=True, at_ms=older))) == ["stale"]
    assert await asking.risk(older - 1, older, last - 1, last) == [0.0, 1.0, 1.0, 0.0]


async def test_a_label_for_a_transaction_that_never_comes_is_unknown_and_changes_nothing(asking: Asking) -> None:
    seen = await asking.observe(LABELLED)
    before = await asking.risk(ASKED)
    nothing = {"id": "never", "card": LABELLED["card"]}
    answers = await asking.label(
        label(1, nothing, fraud=True, at_ms=X, merchant_id=LABELLED["merchant"], occurred_ms=X),
        label(2, {**LABELLED, "card": "another card"}, fraud=True, at_ms=X),
    )
    assert statuses(answers) == ["unknown_transaction"] * 2
    assert (answers[0].merchant_id, answers[0].occurred_ms) == (LABELLED["merchant"], X), "as its sender says"
    assert await asking.risk(ASKED) == before == [0.0]
    own = await asking.observe(transaction(2, ms=X + 5_000))
    assert (own["card_count_30d"], own["card_seconds_since_last"]) == (seen["card_count_30d"] + 1, 5.0)


@pytest.mark.parametrize("tidied", [False, True])
async def test_a_label_behind_the_horizon_is_unknown_and_changes_nothing(
    asking: Asking,
    pick: Pick,
    tidied: bool,  # noqa: FBT001 - both
) -> None:
    await asking.observe(LABELLED)
    for offset in range(2, 30):
        await asking.observe(transaction(offset, ms=X + HORIZON - 1))
    said = label(1, LABELLED, fraud=True, at_ms=X + HORIZON)
    await asking.observe(transaction(30, ms=X + HORIZON))
    for _ in range(2 if tidied else 0):
        await pick().compact()
    before = await asking.risk(ASKED, X + HORIZON)
    (answer,) = await asking.label(said)
    assert (answer.status, answer.merchant_position) == (LabelStatus.UNKNOWN_TRANSACTION, None)
    assert statuses(await asking.label(said._replace(offset=2))) == ["repeated"]
    assert await asking.risk(ASKED, X + HORIZON) == before == [0.0, 0.0]


async def test_a_millisecond_before_the_horizon_it_is_applied(asking: Asking) -> None:
    await asking.observe(LABELLED)
    await asking.observe(transaction(2, ms=X + HORIZON - 1))
    assert statuses(await asking.label(label(1, LABELLED, fraud=True, at_ms=ASKED))) == ["applied"]
    assert await asking.risk(ASKED) == [1.0]


@pytest.mark.parametrize("kind", STORES[:2])
async def test_a_card_remembers_for_as_long_as_a_risk_feature_looks_back(kind: str, servers: Servers) -> None:
    """A chargeback of seven weeks must find its transaction where a feature waits two months for it."""
    slow = merchant("fraud_share", "30d", delay="60d")
    feature_set = FeatureSet((*(row for row in FEATURES if row.aggregate is not Aggregate.FRAUD_SHARE), slow))
    async with opened(kind, servers, feature_set) as pick:
        asking = Asking(pick, feature_set)
        await asking.observe(LABELLED)
        await asking.observe(transaction(2, ms=X + 89 * DAY_MS))
        said = label(1, LABELLED, fraud=True, at_ms=X + 50 * DAY_MS)
        assert statuses(await asking.label(said)) == ["applied"]
        assert await asking.risk(X + 60 * DAY_MS - 1, X + 60 * DAY_MS, feature=slow.name) == [0.0, 1.0]
