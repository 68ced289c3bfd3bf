"""Make one decision again: from its own record, step by step, and from the logs, record by record.

Nothing here prints; what a step is called and shown as is `stream.cli.replay`'s.
"""

import asyncio
from typing import Any

import msgspec
import numpy as np

from features.vector.sets import FeatureSets
from models.policy import bands
from stream.backscoring.finding import Found, find
from stream.backscoring.loading import maker_of
from stream.backscoring.progress import Progress
from stream.backscoring.remaking import different
from stream.backscoring.request import Range, TopicRequest
from stream.backscoring.retracing import Traced, retrace
from stream.backscoring.topics import reading
from stream.contract.outputs import Score
from stream.rules import decide_by_rules
from stream.settings import Settings


class Step(msgspec.Struct, frozen=True):
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
    from_record: tuple[Step, ...]
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


async def _found(settings: Settings, wanted: tuple[str, str | None], progress: Progress) -> Found:
    async with reading(settings) as topics:
        return await find(settings, topics, wanted, progress)


def from_record(score: Score, url: str) -> list[Step]:
    """Make a decision again from its own record: features, model, score, band, policy."""
    if score.features is None:
        return [Step("features", None, None, None, "not on record: FRAUDSTREAM_SCORE_FEATURES left them out")]
    steps = [Step("features", len(score.features), len(score.features), equal=True, note="as recorded")]
    if score.model is None:
        vector = np.array(list(score.features.values()), np.float64)
        again = decide_by_rules(list(score.features), vector).value
        return [*steps, Step("rules", score.decision.value, again, again == score.decision.value, "no model decided")]
    model = maker_of(url, score.model.digest)
    if model is None:
        return [*steps, Step("model", score.model.digest, None, None, "not in the repository, or damaged")]
    steps.append(Step("model", score.model.digest, model.digest, equal=True, note=f"{model.name} {model.version}"))
    names = model.manifest.feature_names
    if set(names) != set(score.features):
        return [*steps, Step("vector", sorted(score.features), sorted(names), equal=False, note="other features")]
    value = model.score(np.array([[score.features[name] for name in names]], np.float64))
    band, decision = int(bands(value)[0]), model.policy.decide(value)[0].value
    recorded = np.array([np.nan if score.score is None else score.score])
    policy = f"review from {model.policy.review_at:.6g}, decline from {model.policy.decline_at:.6g}"
    return [
        *steps,
        Step("score", score.score, float(value[0]), not different(value, recorded)[0], "calibrated probability"),
        Step("band", score.band, band, band == score.band),
        Step("policy", score.decision.value, decision, decision == score.decision.value, policy),
    ]
