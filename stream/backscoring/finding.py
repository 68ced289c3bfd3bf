"""Find the decision about a transaction on the scores topic: the valid one, whatever else was written about it.

Every score of a partition is looked at, since validity is a matter of what came before. Nothing here makes it again.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from aiokafka.partitioner import DefaultPartitioner

from stream.backscoring.errors import NothingToScoreError
from stream.backscoring.progress import Progress
from stream.backscoring.topics import Part, Topics
from stream.consumer import Standing
from stream.contract.outputs import Count, Score
from stream.settings import Settings
from stream.topics import SCORES

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class _Source(msgspec.Struct):
    offset: Count


class _Told(msgspec.Struct):
    """What a score says of its own validity."""

    epoch: Count
    source: _Source


_told = msgspec.json.Decoder(_Told).decode
_score = msgspec.json.Decoder(Score).decode


class Found(NamedTuple):
    """A valid decision, and its offset on the scores topic."""

    score: Score
    offset: int


async def find(settings: Settings, topics: Topics, wanted: tuple[str, str | None], progress: Progress) -> Found:
    """Return the valid decision about a transaction, by its id and its card's, if that is known.

    A card's partition is guessed as most producers choose it, and looked at first.

    Raises:
        NothingToScoreError: there is none, or there are several.
        aiokafka.errors.KafkaError: the broker does not answer, or the topic is not there.
    """
    transaction_id, card_id = wanted
    whole = await topics.whole(settings.topic(SCORES.name))
    found: list[Found] = []
    for partition in _ordered(whole, card_id):
        part = Part(whole.topic, {partition: whole.starts[partition]}, {partition: whole.ends[partition]})
        found += await _search(topics, part, wanted, progress)
        if found and card_id is not None:
            break
    cards = sorted({one.score.card_id for one in found})
    if len(cards) > 1:
        raise NothingToScoreError(f"several cards have a transaction {transaction_id!r}, name one with --card: {cards}")
    if not found:
        whose = "" if card_id is None else f" of card {card_id!r}"
        raise NothingToScoreError(
            f"no valid decision about transaction {transaction_id!r}{whose} is on {whole.topic}; "
            "if it was refused, dead-letters says why"
        )
    return found[0]


def _ordered(whole: Part, card_id: str | None) -> Sequence[int]:
    """Return the partitions, the one first in which most producers would have put a card."""
    partitions = sorted(whole.starts)
    if card_id is None:
        return partitions
    first = DefaultPartitioner()(card_id.encode(), partitions, partitions)
    return [first, *(one for one in partitions if one != first)]


async def _search(topics: Topics, part: Part, wanted: tuple[str, str | None], progress: Progress) -> list[Found]:
    """Return the valid decisions of one partition about a transaction."""
    sign, standing, found, done = msgspec.json.encode(wanted[0]), Standing(), list[Found](), 0
    (partition,) = part.starts
    async for records in topics.read(part):
        for record in records:
            value = record.value or b""
            try:
                told = _told(value)
                score = _score(value) if sign in value else None
            except _UNREADABLE:
                continue
            is_valid = standing.is_valid(told.epoch, told.source.offset)
            standing = standing.after(told.epoch, told.source.offset)
            if is_valid and score is not None and _is_meant(score, wanted):
                found.append(Found(score, record.offset))
        done += len(records)
        progress(f"scores {partition}", done, part.count)
    return found


def _is_meant(score: Score, wanted: tuple[str, str | None]) -> bool:
    transaction_id, card_id = wanted
    return score.transaction_id == transaction_id and card_id in {None, score.card_id}
