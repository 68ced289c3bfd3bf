"""What people state of a model: owner, purpose, limits, validation, when it is reviewed next; versioned, beside it.

Owners and review dates change while the bits of a model do not, so a card is no part of the artifact: a file of its own
for each version of it, none of which is ever replaced. The digest stays, and so do the signatures over it.
"""

import hashlib
import re
import tomllib
from datetime import date
from typing import Annotated, Literal

import msgspec

from models.commands import Actor, Timestamp
from models.errors import InvalidCardError
from models.expected import without_pattern
from models.repository import Repository
from models.reviews import FailedReview, Review, ReviewRecord, review_due
from models.times import parse_time_ms

FOLDER = "cards"
"""The folder in the repository; below it one for each digest, with a file for each version of its card."""
_DAY_MS = 86_400_000
_VERSION = re.compile(r"([0-9]{15})-[0-9a-f]{8}\.json")
_LARGEST_BYTES = 64 * 1024

Line = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=4_000)]
Texts = Annotated[tuple[Text, ...], msgspec.Meta(max_length=50)]


class StatedCard(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """What the owner of a model states of it; all that is not stated is shown as such.

    `owner` answers for the model, `materiality` is how much depends on it, with `exposure` in words. `review_by` is the
    day by which it must have been reviewed. `validated_by` is who has challenged it, who should not have made it.
    """

    owner: Line
    purpose: Text | None = None
    out_of_scope: Texts = ()
    users: Text | None = None
    materiality: Literal["high", "medium", "low"] | None = None
    exposure: Text | None = None
    method: Text | None = None
    data: Text | None = None
    assumptions: Texts = ()
    limitations: Texts = ()
    fairness: Text | None = None
    validated_by: Line | None = None
    validated_on: date | None = None
    validation: Text | None = None
    findings: Texts = ()
    monitoring: Texts = ()
    fallback: Text | None = None
    approved_by: Line | None = None
    approved_on: date | None = None
    review_by: date | None = None
    third_parties: Texts = ()
    contact: Line | None = None


ReviewOutcome = Literal["passed", "failed"]


class CardVersion(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="schema", tag="card/1"):
    """A version of a card as it is stored: what was stated, by whom, and when.

    `review` is the outcome of a review that it records, if it records one. It stands beside the card, whose fields are
    closed, so that the version of fraudstream before reads it as well.
    """

    recorded_at: Timestamp
    recorded_by: Actor
    card: StatedCard
    review: ReviewOutcome | None = None


WARN_DAYS = 30
"""A review that is due within so many days is warned of."""

_decode = msgspec.json.Decoder(CardVersion).decode


def read_card(text: str) -> StatedCard:
    """Read what an owner states, as TOML.

    Raises:
        InvalidCardError: says which field cannot be used.
    """
    try:
        return msgspec.convert(tomllib.loads(text), StatedCard)
    except tomllib.TOMLDecodeError as error:
        raise InvalidCardError(f"no TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise InvalidCardError(without_pattern(error)) from error


def card_folder(digest: str) -> str:
    """Return where in the repository the versions of a model's card are."""
    return f"{FOLDER}/{digest}"


def store_card(repository: Repository, digest: str, version: CardVersion) -> str:
    """Store a new version of a card beside a model, and return its place in the repository.

    Its name begins with the time, so that versions are in their order, and ends with a hash, so that two that are
    stored in the same millisecond do not replace each other.

    Raises:
        RepositoryUnavailableError: it cannot be written.
    """
    value = msgspec.json.encode(version, order="deterministic") + b"\n"
    at_ms = parse_time_ms(version.recorded_at).epoch_ms
    name = f"{card_folder(digest)}/{at_ms:015d}-{hashlib.sha256(value).hexdigest()[:8]}.json"
    repository.write(name, value)
    return name


def card_versions(repository: Repository, digest: str) -> tuple[CardVersion, ...]:
    """Return the versions of a model's card, oldest first.

    Raises:
        InvalidCardError: one cannot be read.
        RepositoryUnavailableError: the repository does not answer.
    """
    return tuple(_read(repository, digest, name) for name in _names(repository, digest))


def present_card(repository: Repository, digest: str) -> StatedCard | None:
    """Return what is stated of a model now; None if nothing is. Raises like `card_versions`."""
    names = _names(repository, digest)
    return _read(repository, digest, names[-1]).card if names else None


def review_record(repository: Repository, digest: str) -> ReviewRecord:
    """Return what the versions of a model's card say of its reviews, read from the newest one back to an outcome.

    Raises:
        RepositoryUnavailableError: the repository does not answer.
    """
    record = ReviewRecord()
    for file in reversed(_names(repository, digest)):
        name = file.removesuffix(".json")
        try:
            version = _read(repository, digest, file)
        except InvalidCardError as error:
            return record._replace(version=record.version or name, unreadable=str(error))
        record = record if record.version else ReviewRecord(name, version.card.review_by)
        if version.review is not None:
            failed = FailedReview(name, version.recorded_at, version.recorded_by)
            return record if version.review == "passed" else record._replace(failed=failed)
    return record


def review_of(card: StatedCard | None, at_ms: int) -> Review | None:
    """Return when the model of a card is reviewed next, seen from a time in epoch milliseconds (days are UTC's)."""
    return None if card is None else review_due(card.review_by, at_ms)


def days_left(review_by: date, at_ms: int) -> float:
    """Return the days from a time until the end of the day of a review, negative after it."""
    end_ms = (review_by - date(1970, 1, 1)).days * _DAY_MS + _DAY_MS
    return (end_ms - at_ms) / _DAY_MS


def _names(repository: Repository, digest: str) -> list[str]:
    return [name for name in repository.names(card_folder(digest)) if _VERSION.fullmatch(name)]


def _read(repository: Repository, digest: str, name: str) -> CardVersion:
    path = f"{card_folder(digest)}/{name}"
    value = repository.read(path) or b""
    try:
        return _decode(value[:_LARGEST_BYTES])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidCardError(f"{path} in {repository.place}: {without_pattern(error)}") from error
