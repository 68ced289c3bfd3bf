"""A card is recorded beside a model in versions that never replace each other, and says when it is reviewed next."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.artifact import FILES
from models.card import (
    CardVersion,
    StatedCard,
    card_versions,
    days_left,
    present_card,
    read_card,
    review_of,
    review_record,
    store_card,
)
from models.errors import InvalidCardError
from models.overview import reviews
from models.repository import Repository
from models.reviews import ReviewRecord

CONTENTS = {name: f"contents of {name}".encode() for name in FILES}
TEXT = """
owner = "Fraud desk"
purpose = "Decide card payments."
limitations = ["No payments of a card's first day.", "Euro alone."]
materiality = "high"
validated_on = 2026-10-01
review_by = 2027-01-31
"""


def version(owner: str, at: str = "2026-11-01T00:00:00.000Z", review_by: date | None = None) -> CardVersion:
    return CardVersion(recorded_at=at, recorded_by="ann", card=StatedCard(owner=owner, review_by=review_by))


def ms(*day: int) -> int:
    return int(datetime(*day, tzinfo=UTC).timestamp() * 1000)  # type: ignore[misc, arg-type]


def test_a_card_is_read_from_toml() -> None:
    card = read_card(TEXT)
    assert (card.owner, card.materiality, card.validated_on) == ("Fraud desk", "high", date(2026, 10, 1))
    assert card.limitations == ("No payments of a card's first day.", "Euro alone.")
    assert card.review_by == date(2027, 1, 31)
    assert read_card('owner = "a"\nreview_by = "2027-01-31"').review_by == date(2027, 1, 31)
    assert card.purpose == "Decide card payments."
    assert card.approved_by is None


@pytest.mark.parametrize(
    ("text", "message"),
    {
        "": "missing required field `owner`",
        "owner = ": "no TOML",
        'owner = ""': "length >= 1",
        'owner = "a"\nowmer = "b"': "unknown field `owmer`",
        'owner = "a"\nmateriality = "huge"': "Invalid enum value 'huge'",
        'owner = "a"\nreview_by = "soon"': "Invalid RFC3339 encoded date",
        'owner = "a"\nlimitations = "one"': "Expected `array`, got `str`",
    }.items(),
)
def test_a_card_that_cannot_be_used_is_refused_and_the_message_says_why(text: str, message: str) -> None:
    with pytest.raises(InvalidCardError, match=message):
        read_card(text)


@pytest.fixture(params=["folder", "memory"])
def repository(request: pytest.FixtureRequest, tmp_path: Path) -> Repository:
    return Repository(str(tmp_path / "models") if request.param == "folder" else f"memory://{tmp_path.name}/models")


def test_versions_stand_beside_the_artifact_oldest_first_and_change_neither_it_nor_its_digest(
    repository: Repository,
) -> None:
    digest = repository.put(CONTENTS)
    assert card_versions(repository, digest) == ()
    assert present_card(repository, digest) is None
    late, early = version("b", "2026-11-02T00:00:00.000Z"), version("a", "2026-10-31T23:59:59.999Z")
    places = {store_card(repository, digest, one) for one in (late, early, version("c", early.recorded_at), late)}
    assert len(places) == 3, "two in the same millisecond are both there, and the same one twice is there once"
    assert [one.card.owner for one in card_versions(repository, digest)][2] == "b"
    assert {one.card.owner for one in card_versions(repository, digest)[:2]} == {"a", "c"}
    assert present_card(repository, digest) == late.card
    assert repository.digests() == (digest,)
    assert repository.fetch(digest) == CONTENTS


def test_a_version_that_cannot_be_read_is_refused_and_other_files_are_left_out(repository: Repository) -> None:
    digest = repository.put(CONTENTS)
    repository.write(f"cards/{digest}/README.txt", b"ours")
    assert card_versions(repository, digest) == ()
    name = store_card(repository, digest, version("a"))
    for value in (b"", b"{}", b'{"schema":"card/2"}', b"\xff", b"[" * 5000):
        repository.write(name, value)
        with pytest.raises(InvalidCardError, match=rf"{name} in "):
            present_card(repository, digest)
    assert reviews(repository, [digest], 0) == {}


@pytest.mark.parametrize(
    ("by", "days", "text"),
    [
        (date(2026, 11, 30), 3, "due by 2026-11-30, in 3 days"),
        (date(2026, 11, 28), 1, "due by 2026-11-28, tomorrow"),
        (date(2026, 11, 27), 0, "due by 2026-11-27, today"),
        (date(2026, 11, 26), -1, "overdue by 1 day, since 2026-11-26"),
        (date(2026, 10, 27), -31, "overdue by 31 days, since 2026-10-27"),
    ],
)
def test_a_review_is_due_by_the_end_of_its_day(by: date, days: int, text: str) -> None:
    for at in (ms(2026, 11, 27), ms(2026, 11, 28) - 1):
        review = review_of(StatedCard(owner="a", review_by=by), at)
        assert review is not None
        assert (review.by, review.days, review.text) == (by, days, text)
    assert review_of(StatedCard(owner="a"), 0) is None
    assert review_of(None, 0) is None


@given(st.dates(date(1970, 1, 2), date(2200, 1, 1)), st.integers(0, 7_000_000_000_000))
def test_days_left_are_those_between_the_moment_and_the_end_of_the_day(by: date, at_ms: int) -> None:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at_ms)
    end = datetime(by.year, by.month, by.day, tzinfo=UTC) + timedelta(days=1)
    assert days_left(by, at_ms) == pytest.approx((end - moment) / timedelta(days=1), abs=1e-9)
    review = review_of(StatedCard(owner="a", review_by=by), at_ms)
    assert review is not None
    assert (review.days < 0) == (days_left(by, at_ms) <= 0)


def test_the_reviews_of_many_models_are_read_at_once(repository: Repository) -> None:
    digests = [repository.put(CONTENTS | {"model.txt": str(number).encode()}) for number in range(7)]
    for number, digest in enumerate(digests[:5]):
        store_card(repository, digest, version("a", review_by=date(2027, 1, 1 + number)))
    store_card(repository, digests[5], version("a"))
    found = reviews(repository, digests, ms(2027, 1, 1))
    assert {digest: one.days for digest, one in found.items()} == {digest: n for n, digest in enumerate(digests[:5])}


def test_the_last_outcome_of_a_review_counts_and_the_newest_version_says_when_the_next_is_due(tmp_path: Path) -> None:
    repository, digest = Repository(str(tmp_path)), "a" * 64
    assert review_record(repository, digest) == ReviewRecord()
    day = "2026-11-0{}T00:00:00.000Z"
    failed = msgspec.structs.replace(version("x", day.format(1)), review="failed")
    first = store_card(repository, digest, failed)
    second = store_card(repository, digest, version("y", day.format(2), date(2027, 1, 31)))
    found = review_record(repository, digest)
    assert f"cards/{digest}/{found.version}.json" == second
    assert found.review_by == date(2027, 1, 31)
    assert found.failed is not None
    assert (f"cards/{digest}/{found.failed.name}.json", found.failed.by) == (first, "ann")
    store_card(repository, digest, msgspec.structs.replace(version("z", day.format(3)), review="passed"))
    assert review_record(repository, digest).failed is None


def test_a_version_that_cannot_be_read_leaves_reviews_unknown(tmp_path: Path) -> None:
    repository, digest = Repository(str(tmp_path)), "a" * 64
    place = store_card(repository, digest, version("x"))
    repository.write(place, b"{")
    found = review_record(repository, digest)
    assert (found.failed, found.review_by) == (None, None)
    assert place in found.unreadable
    assert f"cards/{digest}/{found.version}.json" == place


def test_the_version_before_reads_a_card_that_records_a_review(tmp_path: Path) -> None:
    class CardBefore(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="card/1"):
        recorded_at: str
        recorded_by: str
        card: StatedCard

    repository, digest = Repository(str(tmp_path)), "a" * 64
    place = store_card(repository, digest, msgspec.structs.replace(version("x"), review="failed"))
    assert msgspec.json.decode(repository.read(place) or b"", type=CardBefore).card == StatedCard(owner="x")
