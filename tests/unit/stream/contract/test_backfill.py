"""The header of a backfilled record is read as it was written, and nothing else passes for one."""

import pytest

from stream.contract.transaction import BACKFILL_HEADER, BackfillMark, backfill_mark
from stream.engine.unpacking import FetchedRecord
from stream.scoring.decode import decode, read_label_record, without_impassable_headers
from support.stream_records import LATEST_MS, MENTION, Told, text

MARK = BackfillMark("0123456789abcdef", 17)
BAD = [
    [(BACKFILL_HEADER, b"")],
    [(BACKFILL_HEADER, None)],
    [(BACKFILL_HEADER, b"true")],
    [(BACKFILL_HEADER, b"0123456789abcdef:-1")],
    [(BACKFILL_HEADER, b"0123456789abcdef:01")],
    [(BACKFILL_HEADER, b"0123456789ABCDEF:1")],
    [(BACKFILL_HEADER, b"0123456789abcdef:17\n")],
    [(BACKFILL_HEADER, b"0123456789abcdef:1" + b"0" * 15)],
    [(BACKFILL_HEADER, b"\xff" * 18)],
    [MARK.header(), MARK.header()],
]


@pytest.mark.parametrize("number", [0, 1, 10, 10**14])
def test_a_mark_is_read_as_it_was_written(number: int) -> None:
    mark = BackfillMark("00000000000000ff", number)
    assert backfill_mark([("traceparent", b"x"), mark.header()]) == mark


@pytest.mark.parametrize("headers", [[], [("Fraudstream-Backfill", b"0123456789abcdef:1")], *BAD])
def test_any_other_header_is_no_mark(headers: list[tuple[str, bytes | None]]) -> None:
    assert backfill_mark(headers) is None


@pytest.mark.parametrize("headers", BAD)
def test_a_payment_with_a_bad_mark_is_decided_and_its_score_names_what_was_dropped(
    headers: list[tuple[str, bytes | None]],
) -> None:
    decoded = decode([Told(text(), headers=[("kept", b"1"), *headers], timestamp=LATEST_MS)], 0)
    assert decoded.backfilled.tolist() == [False]
    assert decoded.records[0].headers == (("kept", b"1"),)
    assert set(decoded.accepted[0].dropped) == {f"headers.{BACKFILL_HEADER}"}


def test_only_the_payments_with_a_mark_are_backfilled_and_keep_their_headers() -> None:
    marked = Told(text(transaction_id="t-2"), offset=1, headers=[("kept", b"1"), MARK.header()])
    decoded = decode([Told(text(), headers=[("kept", b"1")]), marked, Told(b"{", offset=2, headers=[MARK.header()])], 0)
    assert decoded.backfilled.tolist() == [False, True]
    assert decoded.records[1] is marked
    assert decoded.accepted[1].dropped == ()
    assert [letter.record.offset for letter in decoded.dead] == [2]
    assert decoded.part(1, 2).backfilled.tolist() == [True]


def test_a_label_with_a_bad_mark_is_read_and_its_outcome_does_not_carry_it() -> None:
    value = (
        f'{{"transaction_id":"t-1","card_id":"{MENTION["card_id"]}","fraud":true,"labelled_at":1,"reported_by":"rule"}}'
    )
    record = FetchedRecord("labels", 0, 3, LATEST_MS, 0, b"card-1", value.encode(), [(BACKFILL_HEADER, b"1")])
    assert read_label_record(record).label.transaction_id == "t-1"  # type: ignore[union-attr]
    assert without_impassable_headers(record)[0].headers == ()
