"""The status of each kind of label, and a merchant's fraud share before and after it, on every store.

X is the time of the labelled transaction. Transactions of other cards read the fraud share between X + 7 d, where the
label delay ends, and X + 8 d, where the window of a day ends.
"""

from collections.abc import Callable, Sequence

import pytest

from features.aggregates import Aggregate
from features.declaration import DAY_MS, HOUR_MS, FeatureSet
from features.default_set import FEATURES
from features.history.store import HistoryStore, Label, LabelResult
from features.rows import merchant
from features.vector.vectorise import vectorise
from fraudstream_client.outputs import LabelStatus
from support.features.recount import Row, label, transaction, transactions
from support.features.stores import DEFAULT, STORES, Servers, opened

Pick = Callable[[], HistoryStore]

LABELLED = transaction(1)
X = int(LABELLED["ms"])
ASKED = X + 7 * DAY_MS
HORIZON = 37 * DAY_MS


class StoreClient:
    """Sends transactions and labels to a store, and reads a merchant's fraud share, each time with another card."""

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
        """Return the fraud share at each of these times."""
        found = []
        for ms in at_ms:
            self._offset += 1
            row = transaction(self._offset, card=f"asks-{self._offset}", merchant=LABELLED["merchant"], ms=ms)
            found.append((await self.observe(row))[feature])
        return found

    async def label(self, *sent: Label) -> list[LabelResult]:
        """Send labels, each in its own call."""
        return [one for label_ in sent for one in await self._pick().label([label_])]


@pytest.fixture
def store_client(pick: Pick) -> StoreClient:
    return StoreClient(pick)


def statuses(answers: Sequence[LabelResult]) -> list[str]:
    return [answer.status.value for answer in answers]


async def test_a_label_before_its_transaction_is_unknown_and_counts_once_the_transaction_arrives(
    store_client: StoreClient,
) -> None:
    (answer,) = await store_client.label(label(1, LABELLED, fraud=True, at_ms=ASKED))
    assert (answer.status, answer.merchant_id, answer.merchant_position) == (
        LabelStatus.UNKNOWN_TRANSACTION,
        None,
        None,
    )
    assert await store_client.risk(ASKED) == [0.0]
    assert (await store_client.observe(LABELLED))["card_count_30d"] == 1.0
    assert await store_client.risk(ASKED - 1, ASKED) == [0.0, 1.0]
    again = await store_client.label(label(1, LABELLED, fraud=True, at_ms=ASKED))
    assert statuses(again) == ["unknown_transaction"], "a redelivery returns the first status"


async def test_a_label_counts_from_its_labelled_time_on(store_client: StoreClient) -> None:
    await store_client.observe(LABELLED)
    assert await store_client.risk(ASKED, ASKED + HOUR_MS) == [0.0, 0.0]
    assert statuses(await store_client.label(label(1, LABELLED, fraud=True, at_ms=ASKED + HOUR_MS))) == ["applied"]
    assert await store_client.risk(ASKED, ASKED + HOUR_MS - 1, ASKED + HOUR_MS) == [0.0, 0.0, 1.0]


async def test_a_label_sent_twice_is_repeated_and_changes_nothing(store_client: StoreClient) -> None:
    await store_client.observe(LABELLED)
    sent = label(1, LABELLED, fraud=True, at_ms=ASKED)
    answers = await store_client.label(sent, sent._replace(offset=2), sent._replace(partition=3), sent)
    assert statuses(answers) == ["applied", "repeated", "repeated", "applied"]
    assert {answer.card_position for answer in answers} == {1}
    assert await store_client.risk(ASKED - 1, ASKED) == [0.0, 1.0]


async def test_corrections_from_fraud_to_genuine_and_back_each_count_from_their_labelled_time(
    store_client: StoreClient,
) -> None:
    await store_client.observe(LABELLED)
    at = [ASKED + hours * HOUR_MS for hours in (1, 2, 3)]
    verdicts = (True, False, True)
    known, answers = [], []
    for offset, (moment, fraud) in enumerate(zip(at, verdicts, strict=True)):
        known += await store_client.risk(moment)
        answers += await store_client.label(label(offset, LABELLED, fraud=fraud, at_ms=moment))
    assert statuses(answers) == ["applied", "corrected", "corrected"]
    assert known == [0.0, 1.0, 0.0], "before each label"
    assert await store_client.risk(at[0] - 1, *at) == [0.0, 1.0, 0.0, 1.0]
    assert await store_client.risk(at[1] - 1, at[2] - 1) == [1.0, 0.0]


async def test_a_confirmation_by_another_reporter_is_applied_and_changes_no_value(store_client: StoreClient) -> None:
    await store_client.observe(LABELLED)
    first = label(1, LABELLED, fraud=True, at_ms=ASKED)
    later = label(2, LABELLED, fraud=True, at_ms=ASKED + HOUR_MS, reported_by="chargeback")
    assert statuses(await store_client.label(first, later)) == ["applied", "applied"]
    assert await store_client.risk(ASKED - 1, ASKED, ASKED + HOUR_MS) == [0.0, 1.0, 1.0]


async def test_a_label_older_than_the_last_one_is_stale_and_counts_only_until_the_last_one_is_known(
    store_client: StoreClient,
) -> None:
    await store_client.observe(LABELLED)
    last, older = ASKED + 2 * HOUR_MS, ASKED + HOUR_MS
    assert statuses(await store_client.label(label(1, LABELLED, fraud=False, at_ms=last))) == ["applied"]
    assert await store_client.risk(older, last) == [0.0, 0.0]
    assert statuses(await store_client.label(label(2, LABELLED, fraud=True, at_ms=older))) == ["stale"]
    assert await store_client.risk(older - 1, older, last - 1, last) == [0.0, 1.0, 1.0, 0.0]


async def test_a_label_without_a_transaction_is_unknown_and_changes_no_value(store_client: StoreClient) -> None:
    seen = await store_client.observe(LABELLED)
    before = await store_client.risk(ASKED)
    nothing = {"id": "never", "card": LABELLED["card"]}
    answers = await store_client.label(
        label(1, nothing, fraud=True, at_ms=X, merchant_id=LABELLED["merchant"], occurred_ms=X),
        label(2, {**LABELLED, "card": "another card"}, fraud=True, at_ms=X),
    )
    assert statuses(answers) == ["unknown_transaction"] * 2
    assert (answers[0].merchant_id, answers[0].occurred_ms) == (LABELLED["merchant"], X), "as the label states"
    assert await store_client.risk(ASKED) == before == [0.0]
    own = await store_client.observe(transaction(2, ms=X + 5_000))
    assert (own["card_count_30d"], own["card_seconds_since_last"]) == (seen["card_count_30d"] + 1, 5.0)


@pytest.mark.parametrize("tidied", [False, True])
async def test_a_label_for_a_transaction_beyond_the_horizon_is_unknown_and_changes_no_value(
    store_client: StoreClient,
    pick: Pick,
    tidied: bool,  # noqa: FBT001 - both
) -> None:
    await store_client.observe(LABELLED)
    for offset in range(2, 30):
        await store_client.observe(transaction(offset, ms=X + HORIZON - 1))
    sent = label(1, LABELLED, fraud=True, at_ms=X + HORIZON)
    await store_client.observe(transaction(30, ms=X + HORIZON))
    for _ in range(2 if tidied else 0):
        await pick().compact()
    before = await store_client.risk(ASKED, X + HORIZON)
    (answer,) = await store_client.label(sent)
    assert (answer.status, answer.merchant_position) == (LabelStatus.UNKNOWN_TRANSACTION, None)
    assert statuses(await store_client.label(sent._replace(offset=2))) == ["repeated"]
    assert await store_client.risk(ASKED, X + HORIZON) == before == [0.0, 0.0]


async def test_a_redelivered_transaction_does_not_apply_a_label_that_came_beyond_the_horizon(
    store_client: StoreClient,
) -> None:
    early = label(1, LABELLED, fraud=False, at_ms=X)
    assert statuses(await store_client.label(early)) == ["unknown_transaction"]
    await store_client.observe(LABELLED)
    await store_client.observe(transaction(2, ms=X + HORIZON))
    assert statuses(await store_client.label(label(3, LABELLED, fraud=True, at_ms=X + 1))) == ["unknown_transaction"]
    assert await store_client.risk(ASKED) == [0.0]
    await store_client.observe(LABELLED)
    assert await store_client.risk(ASKED) == [0.0]


async def test_a_label_for_a_transaction_one_millisecond_within_the_horizon_is_applied(
    store_client: StoreClient,
) -> None:
    await store_client.observe(LABELLED)
    await store_client.observe(transaction(2, ms=X + HORIZON - 1))
    assert statuses(await store_client.label(label(1, LABELLED, fraud=True, at_ms=ASKED))) == ["applied"]
    assert await store_client.risk(ASKED) == [1.0]


@pytest.mark.parametrize("kind", STORES[:2])
async def test_card_histories_are_kept_as_long_as_the_delay_and_window_of_a_fraud_share(
    kind: str, servers: Servers
) -> None:
    """A chargeback after seven weeks finds its transaction if a feature has a label delay of two months."""
    slow = merchant("fraud_share", "30d", delay="60d")
    feature_set = FeatureSet((*(row for row in FEATURES if row.aggregate is not Aggregate.FRAUD_SHARE), slow))
    async with opened(kind, servers, feature_set) as pick:
        store_client = StoreClient(pick, feature_set)
        await store_client.observe(LABELLED)
        await store_client.observe(transaction(2, ms=X + 89 * DAY_MS))
        sent = label(1, LABELLED, fraud=True, at_ms=X + 50 * DAY_MS)
        assert statuses(await store_client.label(sent)) == ["applied"]
        assert await store_client.risk(X + 60 * DAY_MS - 1, X + 60 * DAY_MS, feature=slow.name) == [0.0, 1.0]
