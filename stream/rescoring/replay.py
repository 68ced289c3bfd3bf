"""Make one decision again: from its own record, step by step, and from the logs, record by record.

Nothing here prints; what a step is called and shown as is `stream.cli.replay`'s.

Find the decision about a transaction on the scores topic: the valid one, whatever else was written about it.

Every score of a partition is looked at, since validity is a matter of what came before. Nothing here makes it again.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from aiokafka.partitioner import DefaultPartitioner

from features.vector.sets import FeatureSets
from models.policy import bands
from stream.consumer import Standing
from stream.contract.outputs import Score
from stream.kafka.offsets import read_validity
from stream.kafka.topics import SCORES
from stream.rescoring.request import NothingToScoreError, Progress, Range, TopicRequest
from stream.rescoring.rescore import different, maker_of
from stream.rescoring.topics import TopicPart, Topics, reading
from stream.rescoring.trace import Traced, retrace
from stream.scoring.score import decide_by_rules
from stream.settings import Settings

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


_score = msgspec.json.Decoder(Score).decode


class FoundDecision(NamedTuple):
    """A valid decision, and its offset on the scores topic."""

    score: Score
    offset: int


async def find(settings: Settings, topics: Topics, wanted: tuple[str, str | None], progress: Progress) -> FoundDecision:
    """Return the valid decision about a transaction, by its id and its card's, if that is known.

    A card's partition is guessed as most producers choose it, and looked at first.

    Raises:
        NothingToScoreError: there is none, or there are several.
        aiokafka.errors.KafkaError: the broker does not answer, or the topic is not there.
    """
    transaction_id, card_id = wanted
    whole = await topics.whole(settings.topic(SCORES.name))
    found: list[FoundDecision] = []
    for partition in _ordered(whole, card_id):
        part = TopicPart(whole.topic, {partition: whole.starts[partition]}, {partition: whole.ends[partition]})
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


def _ordered(whole: TopicPart, card_id: str | None) -> Sequence[int]:
    """Return the partitions, the one first in which most producers would have put a card."""
    partitions = sorted(whole.starts)
    if card_id is None:
        return partitions
    first = DefaultPartitioner()(card_id.encode(), partitions, partitions)
    return [first, *(one for one in partitions if one != first)]


async def _search(
    topics: Topics, part: TopicPart, wanted: tuple[str, str | None], progress: Progress
) -> list[FoundDecision]:
    """Return the valid decisions of one partition about a transaction."""
    sign, standing, found, done = msgspec.json.encode(wanted[0]), Standing(), list[FoundDecision](), 0
    (partition,) = part.starts
    async for records in topics.read(part):
        for record in records:
            value = record.value or b""
            try:
                told = read_validity(value)
                score = _score(value) if sign in value else None
            except _UNREADABLE:
                continue
            is_valid = standing.is_valid(told.epoch, told.source.offset)
            standing = standing.after(told.epoch, told.source.offset)
            if is_valid and score is not None and _is_meant(score, wanted):
                found.append(FoundDecision(score, record.offset))
        done += len(records)
        progress(f"scores {partition}", done, part.count)
    return found


def _is_meant(score: Score, wanted: tuple[str, str | None]) -> bool:
    transaction_id, card_id = wanted
    return score.transaction_id == transaction_id and card_id in {None, score.card_id}


class ReplayStep(msgspec.Struct, frozen=True):
    """One step: what is on record, what came out, and whether these are equal; None: it was not possible."""

    step: str
    recorded: Any
    again: Any
    equal: bool | None
    note: str = ""


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """A decision made again; `equal` says that all steps came out as recorded. `logs` is None where they lack it."""

    transaction_id: str
    card_id: str
    partition: int
    offset: int
    scores_offset: int
    decided_at: str
    from_record: tuple[ReplayStep, ...]
    logs: Traced | None
    logs_note: str
    equal: bool


def replay(settings: Settings, sets: FeatureSets, wanted: tuple[str, str | None], progress: Progress) -> Replay:
    """Find the valid decision about a transaction, and make it again.

    Raises:
        BackscoringError: there is no such decision, or this machine lacks something.
        aiokafka.errors.KafkaError: the broker does not answer, or a topic is not there.
    """
    found = asyncio.run(_found(settings, wanted, progress))
    score = found.score
    steps = tuple(from_record(score, settings.models))
    place = Range(offsets={score.source.partition: (score.source.offset, score.source.offset + 1)})
    logs, note = retrace(TopicRequest(settings, place, None, sets, 1), score, progress)
    is_equal = all(step.equal for step in steps) and logs is not None and logs.verdict == "equal"
    return Replay(
        transaction_id=score.transaction_id,
        card_id=score.card_id,
        partition=score.source.partition,
        offset=score.source.offset,
        scores_offset=found.offset,
        decided_at=score.scored_at,
        from_record=steps,
        logs=logs,
        logs_note=note,
        equal=is_equal,
    )


async def _found(settings: Settings, wanted: tuple[str, str | None], progress: Progress) -> FoundDecision:
    async with reading(settings) as topics:
        return await find(settings, topics, wanted, progress)


def from_record(score: Score, url: str) -> list[ReplayStep]:
    """Make a decision again from its own record: features, model, score, band, policy."""
    if score.features is None:
        return [ReplayStep("features", None, None, None, "not on record: FRAUDSTREAM_SCORE_FEATURES left them out")]
    steps = [ReplayStep("features", len(score.features), len(score.features), equal=True, note="as recorded")]
    if score.model is None:
        vector = np.array(list(score.features.values()), np.float64)
        again = decide_by_rules(list(score.features), vector).value
        return [
            *steps,
            ReplayStep("rules", score.decision.value, again, again == score.decision.value, "no model decided"),
        ]
    model = maker_of(url, score.model.digest)
    if model is None:
        return [*steps, ReplayStep("model", score.model.digest, None, None, "not in the repository, or damaged")]
    steps.append(
        ReplayStep("model", score.model.digest, model.digest, equal=True, note=f"{model.name} {model.version}")
    )
    names = model.manifest.feature_names
    if set(names) != set(score.features):
        return [*steps, ReplayStep("vector", sorted(score.features), sorted(names), equal=False, note="other features")]
    value = model.score(np.array([[score.features[name] for name in names]], np.float64))
    band, decision = int(bands(value)[0]), model.policy.decide(value)[0].value
    recorded = np.array([np.nan if score.score is None else score.score])
    policy = f"review from {model.policy.review_at:.6g}, decline from {model.policy.decline_at:.6g}"
    return [
        *steps,
        ReplayStep("score", score.score, float(value[0]), not different(value, recorded)[0], "calibrated probability"),
        ReplayStep("band", score.band, band, band == score.band),
        ReplayStep("policy", score.decision.value, decision, decision == score.decision.value, policy),
    ]
