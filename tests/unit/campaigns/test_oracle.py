"""The naive fold of verdicts gives each record the fate that the contract gives it."""

import json
from collections.abc import Sequence

import pytest

from campaigns.facts import BACKFILL_HEADER, KIND_HEADER, Letter, Place, Record, Score, Verdict
from campaigns.oracle import Fate, Fold, fold, valid_scores

TOPIC = "transactions"


def payment(offset: int, name: str = "", log: int = 0, **headers: bytes) -> Record:
    fields = {
        "transaction_id": name or f"t-{log}-{offset}",
        "card_id": "card",
        "merchant_id": "m",
        "occurred_at": 1,
        "amount_minor": 5,
        "currency": "EUR",
    }
    named = {KIND_HEADER: b"payment", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return Record(log, 0, offset, 1, b"card", json.dumps(fields).encode(), named)


def score(offset: int, at: int, epoch: int = 1, log: int = 0, letters_read: int | None = None) -> Score:
    return Score(0, at, epoch, log, offset, f"t-{log}-{offset}", "card", 1, "d", 1, letters_read)


def letter(offset: int, at: int = 0, log: int = 0, epoch: int | None = 1, topic: str = TOPIC) -> Letter:
    return Letter(at, topic, log, 0, offset, "not_json", epoch)


def folded(
    records: Sequence[Record],
    scores: Sequence[Score] = (),
    letters: Sequence[Letter] = (),
    verdicts: Sequence[Verdict] = (),
) -> Fold:
    return fold(TOPIC, records, scores, letters, verdicts)


def fates(found: Fold) -> dict[Place, Fate]:
    return dict(found.fates)


def test_a_score_decides_and_a_letter_refuses() -> None:
    found = folded([payment(0), payment(1)], [score(0, 0)], [letter(1)])
    assert fates(found) == {(0, 0, 0): Fate.DECIDED, (0, 0, 1): Fate.REFUSED}


def test_an_offset_with_a_score_and_a_letter_breaks_the_rule() -> None:
    assert fates(folded([payment(0)], [score(0, 0)], [letter(0)])) == {(0, 0, 0): Fate.BOTH}


def test_an_offset_without_either_breaks_the_rule_unless_it_has_a_reason() -> None:
    assert fates(folded([payment(0)])) == {(0, 0, 0): Fate.NEITHER}
    assert fates(folded([payment(0, fraudstream_backfill=b"a:1")])) == {(0, 0, 0): Fate.BACKFILLED}
    assert BACKFILL_HEADER == "fraudstream-backfill"


def test_what_is_sent_again_repeats_only_what_was_accepted() -> None:
    assert fates(folded([payment(0, "t"), payment(1, "t")], [score(0, 0)]))[0, 0, 1] is Fate.REPEATED
    assert fates(folded([payment(0, "t"), payment(1, "t")], [], [letter(0)]))[0, 0, 1] is Fate.NEITHER
    on_a_new_log = folded([payment(0, "t"), payment(0, "t", log=1)], [score(0, 0)])
    assert fates(on_a_new_log)[1, 0, 0] is Fate.REPEATED


def test_a_letter_of_one_log_says_nothing_of_another() -> None:
    found = folded([payment(0), payment(0, log=1)], [score(0, 0, log=1)], [letter(0)])
    assert fates(found) == {(0, 0, 0): Fate.REFUSED, (1, 0, 0): Fate.DECIDED}


@pytest.mark.parametrize(
    ("verdict", "lost"),
    [
        (Verdict("accept_loss", 1, 1, None, TOPIC, 0, log=0, up_to=1), [(0, 0, 0)]),
        (Verdict("accept_loss", 1, 1, None, TOPIC, 0, log=1, up_to=0), [(0, 0, 0), (0, 0, 1)]),
        (Verdict("accept_loss", 1, 1, None, TOPIC, 1, log=0, up_to=9), []),
        (Verdict("accept_loss", 1, 1, None, "labels", 0, log=0, up_to=9), []),
        (Verdict("skip", 1, 1, None, TOPIC, 0, log=0, offset=1), [(0, 0, 1)]),
    ],
)
def test_what_was_accepted_as_lost_has_a_reason(verdict: Verdict, lost: list[Place]) -> None:
    assert folded([payment(0), payment(1)], verdicts=[verdict]).places(Fate.LOST) == lost


def test_scores_of_an_outlived_epoch_and_of_decided_offsets_are_void() -> None:
    scores = [score(5, 0, epoch=2), score(6, 1, epoch=1), score(5, 2, epoch=3), score(6, 3, epoch=3)]
    assert [one.at for one in valid_scores(scores)] == [0, 3]


def test_a_letter_behind_what_a_later_claim_has_read_is_late() -> None:
    scores = [score(0, 0, epoch=1024), score(1, 1, epoch=2048, letters_read=7)]
    in_time, late = letter(2, at=6, epoch=1024), letter(1, at=7, epoch=1024)
    found = folded([payment(offset) for offset in range(3)], scores, [in_time, late])
    assert (found.late, fates(found)[0, 0, 1], fates(found)[0, 0, 2]) == (1, Fate.DECIDED, Fate.REFUSED)
    own = folded([payment(0), payment(1)], scores, [letter(1, at=9, epoch=2048)])
    assert (own.late, fates(own)[0, 0, 1]) == (0, Fate.BOTH)


def test_a_claim_that_came_too_late_itself_voids_no_letter() -> None:
    outlived = score(2, 2, epoch=2048, letters_read=7)
    scores = [score(0, 0, epoch=1024), score(2, 1, epoch=3072, letters_read=9), outlived]
    found = folded([payment(offset) for offset in range(3)], scores, [letter(1, at=8, epoch=1024)])
    assert (found.late, fates(found)[0, 0, 1]) == (0, Fate.REFUSED)


def test_a_letter_about_what_was_passed_before_the_claims_first_score_is_not_late() -> None:
    scores = [score(0, 0, epoch=1024), score(2, 1, epoch=1024), score(3, 2, epoch=2048, letters_read=7)]
    found = folded([payment(offset) for offset in range(4)], scores, [letter(1, at=8, epoch=1024)])
    assert (found.late, fates(found)[0, 0, 1]) == (0, Fate.REFUSED)


def test_letters_of_other_topics_refuse_nothing_here() -> None:
    assert fates(folded([payment(0)], [score(0, 0)], [letter(0, topic="labels")])) == {(0, 0, 0): Fate.DECIDED}
