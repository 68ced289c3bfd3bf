"""Replays one decision: finds the valid score of a transaction, and rescores it from its own record and from the logs.

Every score of a partition is read, because whether one is valid depends on those before it. `stream.cli.replay` prints
the result.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from aiokafka.partitioner import DefaultPartitioner

from features.vector.sets import FeatureSets
from models.policy import Decision, bands
from stream.consumer import Standing
from stream.contract.outputs import Overruled, Score
from stream.kafka.offsets import read_validity
from stream.kafka.topics import SCORES
from stream.rescoring.log_replay import LogReplay, replay_from_logs
from stream.rescoring.request import NothingToScoreError, Progress, Range, TopicRequest
from stream.rescoring.rescore import deciding_model, different
from stream.rescoring.topic_reader import TopicPart, TopicReader, open_reader
from stream.scoring.encode import UNDECIDABLE
from stream.scoring.score import decide_by_rules
from stream.settings import Settings

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
_decode_score = msgspec.json.Decoder(Score).decode


class FoundDecision(NamedTuple):
    """A valid decision, and its offset on the scores topic."""

    score: Score
    offset: int


async def find(
    settings: Settings, topics: TopicReader, wanted: tuple[str, str | None], progress: Progress
) -> FoundDecision:
    """Return the valid decision about a transaction; `wanted` is its id and that of its card, if known.

    The partition that most producers choose for the card is searched first.

    Raises:
        NothingToScoreError: there is none, or there are several.
        aiokafka.errors.KafkaError: the broker does not answer, or the topic does not exist.
    """
    transaction_id, card_id = wanted
    whole = await topics.whole(settings.topic(SCORES.name))
    found: list[FoundDecision] = []
    for partition in _likely_first(whole, card_id):
        part = TopicPart(whole.topic, {partition: whole.starts[partition]}, {partition: whole.ends[partition]})
        found += await _search(topics, part, wanted, progress)
        if found and card_id is not None:
            break
    cards = sorted({one.score.card_id for one in found})
    if len(cards) > 1:
        raise NothingToScoreError(f"several cards have a transaction {transaction_id!r}; name one with --card: {cards}")
    if not found:
        whose = "" if card_id is None else f" of card {card_id!r}"
        raise NothingToScoreError(
            f"no valid decision about transaction {transaction_id!r}{whose} is on {whole.topic}; "
            "if it was refused, dead-letters says why"
        )
    return found[0]


def _likely_first(whole: TopicPart, card_id: str | None) -> Sequence[int]:
    """Return the partitions, first the one that most producers would choose for a card."""
    partitions = sorted(whole.starts)
    if card_id is None:
        return partitions
    first = DefaultPartitioner()(card_id.encode(), partitions, partitions)
    return [first, *(one for one in partitions if one != first)]


async def _search(
    topics: TopicReader, part: TopicPart, wanted: tuple[str, str | None], progress: Progress
) -> list[FoundDecision]:
    """Return the valid decisions about a transaction in one partition."""
    quoted_id, standing, found, done = msgspec.json.encode(wanted[0]), Standing(), list[FoundDecision](), 0
    (partition,) = part.starts
    async for records in topics.read(part):
        for record in records:
            value = record.value or b""
            try:
                validity = read_validity(value)
                score = _decode_score(value) if quoted_id in value else None
            except _UNREADABLE:
                continue
            is_valid = standing.is_valid(validity.epoch, validity.place)
            standing = standing.after(validity.epoch, validity.place)
            if is_valid and score is not None and _matches(score, wanted):
                found.append(FoundDecision(score, record.offset))
        done += len(records)
        progress(f"scores {partition}", done, part.count)
    return found


def _matches(score: Score, wanted: tuple[str, str | None]) -> bool:
    transaction_id, card_id = wanted
    return score.transaction_id == transaction_id and card_id in {None, score.card_id}


class ReplayStep(msgspec.Struct, frozen=True):
    """One step: the recorded value, the recomputed one, and whether they are equal; None: it could not be computed."""

    step: str
    recorded: Any
    again: Any
    equal: bool | None
    note: str = ""


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """A replayed decision; `equal` is true if every step matches. `logs` is None if the logs no longer hold it.

    What the model said is replayed; `overruled` says what changed it into `decision` afterwards.
    """

    transaction_id: str
    card_id: str
    partition: int
    offset: int
    scores_offset: int
    decided_at: str
    decision: Decision
    overruled: Overruled | None
    from_record: tuple[ReplayStep, ...]
    logs: LogReplay | None
    logs_note: str
    equal: bool


def replay(settings: Settings, sets: FeatureSets, wanted: tuple[str, str | None], progress: Progress) -> Replay:
    """Find the valid decision about a transaction, and replay it.

    Raises:
        RescoringError: there is no such decision, or it cannot be replayed on this machine.
        aiokafka.errors.KafkaError: the broker does not answer, or a topic does not exist.
    """
    found = asyncio.run(_find(settings, wanted, progress))
    score = found.score
    steps = tuple(from_record(score, settings.models))
    target = Range(offsets={score.source.partition: (score.source.offset, score.source.offset + 1)})
    logs, note = replay_from_logs(TopicRequest(settings, target, None, sets, 1), score, progress)
    is_equal = all(step.equal for step in steps) and logs is not None and logs.verdict == "equal"
    return Replay(
        transaction_id=score.transaction_id,
        card_id=score.card_id,
        partition=score.source.partition,
        offset=score.source.offset,
        scores_offset=found.offset,
        decided_at=score.scored_at,
        decision=score.decision,
        overruled=score.overruled,
        from_record=steps,
        logs=logs,
        logs_note=note,
        equal=is_equal,
    )


async def _find(settings: Settings, wanted: tuple[str, str | None], progress: Progress) -> FoundDecision:
    async with open_reader(settings) as topics:
        return await find(settings, topics, wanted, progress)


def from_record(score: Score, url: str) -> list[ReplayStep]:
    """Replay a decision from its own record: features, model, score, band, policy."""
    if score.features is None:
        none_known = UNDECIDABLE in score.degraded and score.model is None
        why = "the decision is undecidable" if none_known else "FRAUDSTREAM_SCORE_FEATURES left them out"
        return [ReplayStep("features", None, None, None, f"not on record: {why}")]
    steps = [ReplayStep("features", len(score.features), len(score.features), equal=True, note="as recorded")]
    if score.model is None:
        vector = np.array(list(score.features.values()), np.float64)
        again = decide_by_rules(list(score.features), vector).value
        return [
            *steps,
            ReplayStep("rules", score.said.value, again, again == score.said.value, "no model decided"),
        ]
    model = deciding_model(url, score.model.digest)
    if model is None:
        return [*steps, ReplayStep("model", score.model.digest, None, None, "not in the repository, or damaged")]
    steps.append(
        ReplayStep("model", score.model.digest, model.digest, equal=True, note=f"{model.name} {model.version}")
    )
    names = model.manifest.feature_names
    if set(names) != set(score.features):
        return [
            *steps,
            ReplayStep("vector", sorted(score.features), sorted(names), equal=False, note="other features"),
        ]
    value = model.score(np.array([[score.features[name] for name in names]], np.float64))
    band, decision = int(bands(value)[0]), model.policy.decide(value)[0].value
    recorded = np.array([np.nan if score.score is None else score.score])
    policy = f"review from {model.policy.review_at:.6g}, decline from {model.policy.decline_at:.6g}"
    return [
        *steps,
        ReplayStep("score", score.score, float(value[0]), not different(value, recorded)[0], "calibrated probability"),
        ReplayStep("band", score.band, band, band == score.band),
        ReplayStep("policy", score.said.value, decision, decision == score.said.value, policy),
    ]
