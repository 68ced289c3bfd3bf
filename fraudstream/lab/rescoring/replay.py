"""Replays one decision: finds the valid score of a transaction, and rescores it from its own record and from the logs.

Every score of a partition is read, because whether one is valid depends on those before it. A deployment that decides
silently asks for its own decision, which does not count; where it has none, the published one is replayed with the
histories of the deployment that made it. `fraudstream.cli.replay` prints the result.
"""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
from aiokafka.errors import KafkaError
from aiokafka.partitioner import DefaultPartitioner

from features.vector.sets import FeatureSets
from fraudstream.lab.rescoring.log_replay import LogReplay, replay_from_logs
from fraudstream.lab.rescoring.request import NothingToScoreError, Progress, Range, TopicRequest
from fraudstream.lab.rescoring.rescore import deciding_model, different, overruling, overruling_rule
from fraudstream.lab.rescoring.topic_reader import TopicPart, TopicReader, open_reader
from fraudstream.lab.rescoring.topic_tables import softens_rule
from fraudstream.ops.rollout.outcomes.costs import costs_text
from fraudstream_client.outputs import Decision, Overruled, Score
from fraudstream_client.validity import Standing
from models.decline_cap import DECLINE_CAP
from models.loading import Model
from models.policy import Floats, Payments, bands
from stream.control.log_reader import LogReader
from stream.deciding_settings import DecidingSettings, deciding_settings
from stream.kafka.topics import SCORES, silent_scores
from stream.readers import UNREADABLE, read_view
from stream.scoring.encode import UNDECIDABLE
from stream.scoring.score import LIVE_MODEL_FAILED, decide_by_rules
from stream.settings import Settings

_decode_score = msgspec.json.Decoder(Score).decode


class FoundDecision(NamedTuple):
    """A valid decision, its topic and its offset there; `counts` is the published one if that is another one."""

    score: Score
    offset: int
    topic: str
    counts: Score | None = None


async def find(
    settings: Settings, topics: TopicReader, wanted: tuple[str, str | None], progress: Progress
) -> FoundDecision:
    """Return the valid decision about a transaction; `wanted` is its id and that of its card, if known.

    That is the published one, unless another deployment made it, and this one has decided silently.

    Raises:
        NothingToScoreError: there is none, or there are several.
        aiokafka.errors.KafkaError: the broker does not answer, or the topic does not exist.
    """
    scores = await topics.whole(settings.topic(SCORES.name))
    silent = await topics.existing(settings.topic(silent_scores(settings).name))
    searched = [scores] if silent is None or not silent.count else [scores, silent]
    published = await _find_on(topics, scores, wanted, progress)
    own: list[FoundDecision] = []
    if not (published and published[0].score.deployment == settings.deployment):
        own = [one for topic in searched[1:] for one in await _find_on(topics, topic, wanted, progress)]
    cards = sorted({one.score.card_id for one in (*published, *own)})
    if len(cards) > 1:
        raise NothingToScoreError(f"several cards have a transaction {wanted[0]!r}; name one with --card: {cards}")
    if own:
        return own[0]._replace(counts=published[0].score if published else None)
    if not published:
        whose = "" if wanted[1] is None else f" of card {wanted[1]!r}"
        where = " or ".join(topic.topic for topic in searched)
        raise NothingToScoreError(
            f"no valid decision about transaction {wanted[0]!r}{whose} is on {where}; "
            "if it was refused, dead-letters says why"
        )
    return published[0]


async def _find_on(
    topics: TopicReader, whole: TopicPart, wanted: tuple[str, str | None], progress: Progress
) -> list[FoundDecision]:
    """Return the valid decisions about a transaction on a topic; the card's likeliest partition is searched first."""
    found: list[FoundDecision] = []
    for partition in _likely_first(whole, wanted[1]):
        part = TopicPart(whole.topic, {partition: whole.starts[partition]}, {partition: whole.ends[partition]})
        found += await _search(topics, part, wanted, progress)
        if found and wanted[1] is not None:
            break
    return found


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
                view = read_view(value)
                score = _decode_score(value) if quoted_id in value else None
            except UNREADABLE:
                continue
            is_valid = standing.is_valid(view.epoch, view.place)
            standing = standing.after(view.epoch, view.place)
            if is_valid and score is not None and _matches(score, wanted):
                found.append(FoundDecision(score, record.offset, part.topic))
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


class ReplayedSettings(msgspec.Struct, frozen=True):
    """The settings that can change a decision: the hashes of those on record and of those here, and where they differ.

    `differing` has the value on record and the one here, by setting; None: not stated. It is empty where the hashes are
    equal, and where `note` says why the recorded ones are not known.
    """

    recorded: str | None
    here: str
    differing: dict[str, tuple[str | None, str | None]]
    note: str = ""


class Replay(msgspec.Struct, frozen=True, kw_only=True):
    """A replayed decision; `equal` is true if every step matches. `logs` is None if the logs no longer hold it.

    `deployment` made it, and it counts if it is `published`; `scores_topic` is where it lies. `note` says of a silent
    one which decision counts, and of another deployment's how to replay it with its settings.
    What the model said is replayed; `overruled` says what changed it into `decision` afterwards.
    """

    transaction_id: str
    card_id: str
    partition: int
    offset: int
    deployment: str
    published: bool
    scores_topic: str
    scores_offset: int
    note: str
    decided_at: str
    decision: Decision
    overruled: Overruled | None
    settings: ReplayedSettings
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
    made_by = msgspec.structs.replace(settings, deployment=score.deployment)
    logs, note = replay_from_logs(TopicRequest(made_by, target, None, sets, 1), score, progress)
    is_equal = all(step.equal for step in steps) and logs is not None and logs.verdict == "equal"
    return Replay(
        transaction_id=score.transaction_id,
        card_id=score.card_id,
        partition=score.source.partition,
        offset=score.source.offset,
        deployment=score.deployment,
        published=found.topic == settings.topic(SCORES.name),
        scores_topic=found.topic,
        scores_offset=found.offset,
        note=_note(settings, found),
        decided_at=score.scored_at,
        decision=score.decision,
        overruled=score.overruled,
        settings=asyncio.run(_settings(settings, score)),
        from_record=steps,
        logs=logs,
        logs_note=note,
        equal=is_equal,
    )


async def _settings(settings: Settings, score: Score) -> ReplayedSettings:
    """Compare the settings that a decision was made under with those of this process, by what `model-events` says."""
    here = deciding_settings(settings)
    if score.settings is msgspec.UNSET or score.settings == here.hash:
        return compare_settings(score, here, None)
    try:
        async with LogReader(settings, reports=()) as reader:
            await reader.read_to_end()
    except KafkaError as error:  # the decision is replayed all the same
        found = compare_settings(score, here, None)
        return msgspec.structs.replace(found, note=f"{found.note}, which cannot be read: {error}")
    return compare_settings(score, here, reader.workers.lines(score.settings))


def compare_settings(score: Score, here: DecidingSettings, recorded: Sequence[str] | None) -> ReplayedSettings:
    """Return how the settings of a decision, of which these lines are on record, differ from those of this process."""
    if score.settings is msgspec.UNSET:
        return ReplayedSettings(None, here.hash, {}, "not on record: an earlier version decided")
    if score.settings == here.hash:
        return ReplayedSettings(score.settings, here.hash, {})
    if recorded is None:
        return ReplayedSettings(score.settings, here.hash, {}, "the lines of the recorded ones are not on model-events")
    ours, theirs = (dict(line.partition("=")[::2] for line in lines) for lines in (here.lines, recorded))
    names = sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    return ReplayedSettings(score.settings, here.hash, {name: (theirs.get(name), ours.get(name)) for name in names})


def _note(settings: Settings, found: FoundDecision) -> str:
    """Say whose decision was replayed, where that is not what the settings' deployment has published."""
    made, counts = found.score.deployment, found.counts
    if counts is not None:
        return (
            f"{made} decided silently, so this decision does not count; {counts.deployment} published its own, "
            f"{counts.decision.value}: set FRAUDSTREAM_DEPLOYMENT={counts.deployment} to replay that"
        )
    if found.topic != settings.topic(SCORES.name):
        return f"{made} decided silently, so this decision does not count; {SCORES.name} has none about it any more"
    if made != settings.deployment:
        return (
            f"{made} published this decision, and {settings.deployment} has none of its own: it is replayed with the "
            f"histories of {made}. Set FRAUDSTREAM_DEPLOYMENT={made}, and FRAUDSTREAM_FEATURES and FRAUDSTREAM_MODELS "
            "as it has them"
        )
    return ""


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
            *_unprovable_rule(score, "of the live model; the record does not name it"),
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
    vector = np.array([[score.features[name] for name in names]], np.float64)
    return [*steps, *_model_steps(score, model, vector)]


def _unprovable_rule(score: Score, whose: str) -> Iterator[ReplayStep]:
    """Yield a step for a rule that decided where the live model failed: the record does not say which that was."""
    if (by := recorded_rule(score)) is not None:
        yield ReplayStep("list rules", by, None, None, whose)


def _model_steps(score: Score, model: Model, vector: Floats) -> Iterator[ReplayStep]:
    """Yield what the model makes of the recorded features, and what the rules beside it make of that."""
    value, payments = model.score(vector), payment_of(score)
    said = model.decide(value, payments)
    band, decision = int(bands(value)[0]), said[0].value
    recorded = np.array([np.nan if score.score is None else score.score])
    yield ReplayStep("score", score.score, float(value[0]), not different(value, recorded)[0], "calibrated probability")
    yield ReplayStep("band", score.band, band, band == score.band)
    yield ReplayStep("policy", score.said.value, decision, decision == score.said.value, _policy_text(score, model))
    if LIVE_MODEL_FAILED in score.degraded:
        yield from _unprovable_rule(score, "of this model or of the live one; the record does not name that")
    elif model.rules is not None:
        is_capped = np.array([score.overruled is not None and score.overruled.by == DECLINE_CAP])
        by, again = recorded_rule(score), overruling(model.rules, said, (payments, vector), is_capped)[0]
        yield ReplayStep("list rules", by, again, by == again, "the rules beside the model")


def payment_of(score: Score) -> Payments:
    """Return the payment of a score, as far as its record says it."""
    amount = np.array([score.amount_minor], np.int64)
    return Payments([score.card_id], [score.merchant_id], [score.merchant_country or None], amount, [score.currency])


def recorded_rule(score: Score) -> str | None:
    """Return the entry of `overruled` if a rule beside the model made it."""
    by = None if score.overruled is None else score.overruled.by
    return overruling_rule(by, softens_rule=softens_rule(score))


def _policy_text(score: Score, model: Model) -> str:
    """Return the policy for people."""
    costs = model.manifest.cost_policy
    if costs is not None and score.amount_minor and score.currency in costs.costs:
        return f"least expected cost: {costs_text(costs.costs[score.currency], score.currency)}"
    return f"review from {model.policy.review_at:.6g}, decline from {model.policy.decline_at:.6g}"
