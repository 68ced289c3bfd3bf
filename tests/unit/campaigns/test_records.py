"""The records that a campaign sends are what they claim to be, by the product's own reader of transactions."""

import numpy as np
import pytest

from campaigns.facts import BACKFILL_HEADER, KIND_HEADER
from campaigns.plan import BAD_KINDS
from campaigns.traffic import FAR_MS, Payments, Shipment
from stream.contract.codes import Rejection
from stream.contract.label import ParsedLabel, read_label
from stream.contract.transaction import ParsedTransaction, backfill_mark, clock_problem, read_transaction

NOW = 1_760_000_000_000
SKEW_MS, HOUR_MS = 300_000, 3_600_000


def payments() -> Payments:
    made = Payments("x-", np.random.default_rng(1))
    for _ in range(20):
        made.make("payment", NOW)
    return made


def judged(shipment: Shipment, skew_ms: int = SKEW_MS) -> ParsedTransaction | Rejection:
    timestamp = shipment.timestamp_ms or NOW
    return read_transaction(shipment.value, shipment.key.encode(), timestamp + skew_ms)


@pytest.mark.parametrize("kind", BAD_KINDS)
def test_a_bad_record_is_refused_with_the_code_that_its_kind_names(kind: str) -> None:
    shipment = payments().make(kind, NOW)
    answer = judged(shipment, 15 * 60_000)
    assert isinstance(answer, Rejection)
    assert f"bad:{answer.code}" == kind == shipment.headers[KIND_HEADER].decode()


@pytest.mark.parametrize("kind", ["payment", "lead", "backfill", "late", "conflict", "repeat"])
def test_other_records_are_accepted_by_the_contract(kind: str) -> None:
    answer = judged(payments().make(kind, NOW))
    assert isinstance(answer, ParsedTransaction)
    assert clock_problem(answer, NOW + SKEW_MS + HOUR_MS) is None


def test_an_early_payment_depends_on_the_skew_and_a_far_one_on_the_clock() -> None:
    early, far = (payments().make(kind, NOW) for kind in ("early", "far"))
    assert isinstance(judged(early), Rejection)
    assert isinstance(judged(early, 15 * 60_000), ParsedTransaction)
    answer = judged(far)
    assert isinstance(answer, ParsedTransaction)
    assert clock_problem(answer, NOW + SKEW_MS + HOUR_MS) is not None
    assert clock_problem(answer, NOW + FAR_MS + SKEW_MS) is None


def test_a_repeat_is_the_same_record_and_a_conflict_has_the_id_of_another() -> None:
    made = payments()
    assert made.make("repeat", NOW) in made.sent
    conflict = judged(made.make("conflict", NOW))
    assert isinstance(conflict, ParsedTransaction)
    ids = [
        answer.transaction.transaction_id for answer in map(judged, made.sent) if isinstance(answer, ParsedTransaction)
    ]
    assert conflict.transaction.transaction_id in ids


def test_a_backfilled_payment_has_a_mark_that_is_understood_and_a_label_is_read() -> None:
    made = payments()
    backfilled = made.make("backfill", NOW)
    assert backfill_mark([(BACKFILL_HEADER, backfilled.headers[BACKFILL_HEADER])]) is not None
    label = made.label(made.sent[0], NOW)
    assert isinstance(read_label(label.value, label.key.encode(), (0, 0)), ParsedLabel)
