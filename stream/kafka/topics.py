"""The topics of the contract: their layouts, creation, and the checks at start-up."""

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    InvalidConfigurationError,
    InvalidReplicationFactorError,
    KafkaError,
    TopicAlreadyExistsError,
    for_code,
)

from features.history.store import Entity
from models.terms import Term
from stream.errors import TopicsError
from stream.kafka.client import HIDDEN, LARGEST_OUTPUT_BYTES, connection_options, explain_error, open_admin
from stream.kafka.stray import PlainConsumer
from stream.settings import Settings

_DAY_MS = 86_400_000
UNLIMITED = -1
_KAFKA_DEFAULT_BYTES = 1_048_588
_SAFE_REPLICATION = 3
LARGEST_LEAD_MS = 3_600_000
"""How far a record's timestamp may lie ahead of the broker's clock; Kafka's default since 4.0."""
LEAD_SETTING = "message.timestamp.after.max.ms"
_SPARE_MS = _DAY_MS
"""Inputs are kept for so much longer than the longest horizon, so that a repair has the time to read them."""
NO_HORIZONS: Mapping[Entity, int] = MappingProxyType({})
_CHECK_READ_MS = 200
_VISIBLE_SECONDS = 10.0
_LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class TopicLayout:
    """One topic: its name, whether it has N partitions or one, its retention and largest record."""

    name: str
    partitioned: bool
    retention_ms: int
    largest_bytes: int = _KAFKA_DEFAULT_BYTES
    from_outside: bool = False
    of_workers: bool = True
    """Whether a worker reads or writes it, and so is not ready without it."""

    def configuration(self, replication: int) -> dict[str, str]:
        """Return the topic's configuration; with three replicas, two must have a record.

        Where others write, the broker refuses timestamps that lie ahead, since Kafka 3.6.
        """
        lead = {LEAD_SETTING: str(LARGEST_LEAD_MS)} if self.from_outside else {}
        return {
            "cleanup.policy": "delete",
            "retention.ms": str(self.retention_ms),
            "max.message.bytes": str(self.largest_bytes),
            "min.insync.replicas": "2" if replication >= _SAFE_REPLICATION else "1",
            **lead,
        }


TRANSACTIONS = TopicLayout("transactions", partitioned=True, retention_ms=45 * _DAY_MS, from_outside=True)
"""Kept for longer than the longest horizon (a merchant's, 44 days), so that lost histories can be rebuilt.

For features that look further back `kept_for` asks for more.
"""
LABELS = TopicLayout("labels", partitioned=True, retention_ms=45 * _DAY_MS, from_outside=True)
PREDICTIONS = TopicLayout(
    "predictions", partitioned=True, retention_ms=45 * _DAY_MS, from_outside=True, of_workers=False
)
"""Read by workers whose features read predictions from storage, and required by no others."""
SCORES = TopicLayout("scores", partitioned=True, retention_ms=400 * _DAY_MS, largest_bytes=LARGEST_OUTPUT_BYTES)
SHADOW_SCORES = TopicLayout("shadow-scores", partitioned=True, retention_ms=90 * _DAY_MS)
OUTCOMES = TopicLayout("outcomes", partitioned=True, retention_ms=400 * _DAY_MS, largest_bytes=LARGEST_OUTPUT_BYTES)
MODEL_CONTROL = TopicLayout("model-control", partitioned=False, retention_ms=UNLIMITED)
MODEL_EVENTS = TopicLayout("model-events", partitioned=False, retention_ms=UNLIMITED)
DEAD_LETTERS = TopicLayout(
    "dead-letters", partitioned=False, retention_ms=90 * _DAY_MS, largest_bytes=LARGEST_OUTPUT_BYTES
)
EXPLANATIONS = TopicLayout("explanations", partitioned=True, retention_ms=400 * _DAY_MS, of_workers=False)
INCIDENTS = TopicLayout("incidents", partitioned=False, retention_ms=UNLIMITED, of_workers=False)


def silent_scores(settings: Settings) -> TopicLayout:
    """Return the layout of the deployment's own scores, which it writes while another deployment publishes."""
    name = f"{SCORES.name}-{settings.deployment}"
    return TopicLayout(name, partitioned=True, retention_ms=90 * _DAY_MS, largest_bytes=LARGEST_OUTPUT_BYTES)


def layouts_of(settings: Settings) -> tuple[TopicLayout, ...]:
    """Return the layouts of all topics that a deployment may write: the contract's, and its own silent scores."""
    return (*LAYOUTS, silent_scores(settings))


def own_scores(settings: Settings, term: Term) -> TopicLayout:
    """Return the layout of the topic to which the deployment writes its decisions in a term.

    While no model was ever promoted, every deployment is one that publishes.
    """
    return SCORES if publishes_in(settings, term, term.number) else silent_scores(settings)


def publishes_in(settings: Settings, term: Term, number: int) -> bool:
    """Tell whether the deployment writes to `scores` in one of the terms up to this one."""
    return term.published_in(number) in (None, settings.deployment)


async def decision_topics(settings: Settings) -> tuple[str, ...]:
    """Return the topics that may have decisions of the deployment: its silent ones, if that topic exists, and `scores`.

    Around a hand-over it may decide a transaction on both; then what is on `scores` counts, which comes last.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not respond.
    """
    silent = settings.topic(silent_scores(settings).name)
    async with open_admin(settings) as admin:
        exists = silent in await admin.list_topics()
    return (*([silent] if exists else []), settings.topic(SCORES.name))


LAYOUTS = (
    *(TRANSACTIONS, LABELS, PREDICTIONS, SCORES, SHADOW_SCORES, OUTCOMES),
    *(MODEL_CONTROL, MODEL_EVENTS, DEAD_LETTERS, EXPLANATIONS, INCIDENTS),
)


def kept_for(horizons_ms: Mapping[Entity, int], layout: TopicLayout) -> TopicLayout:
    """Return the layout, with the retention that histories of these horizons need where that is longer.

    What a worker lost, and a horizon that a new set of features extends, is read from the inputs again.
    """
    if layout not in {TRANSACTIONS, LABELS, PREDICTIONS}:
        return layout
    of_predictions = layout == PREDICTIONS
    asked = [ms for kind, ms in horizons_ms.items() if (kind is Entity.PREDICTION) == of_predictions]
    return replace(layout, retention_ms=max(layout.retention_ms, max(asked, default=0) + _SPARE_MS))


async def apply(
    settings: Settings, partitions: int, replication: int, horizons_ms: Mapping[Entity, int] = NO_HORIZONS
) -> tuple[str, ...]:
    """Create the missing topics, wait until the broker tells of them, and return their names.

    The inputs keep records for as long as histories of `horizons_ms` need them.

    Raises:
        TopicsError: a topic exists with another number of partitions, or the broker refuses.
    """
    try:
        async with open_admin(settings) as admin:
            counts = await partition_counts(admin, settings)
            wrong = _wrong_counts(settings, counts, partitions)
            if wrong:
                raise TopicsError(_refused_counts(settings, counts, wrong))
            wanted = layouts_of(settings)
            missing = [layout for layout in wanted if settings.topic(layout.name) not in counts]
            kept = [kept_for(horizons_ms, layout) for layout in missing]
            await _create(admin, settings, kept, (partitions, replication))
            await _await_visible(admin, settings, {settings.topic(layout.name) for layout in missing})
    except KafkaError as error:
        raise TopicsError(await explain_error(settings, error)) from error
    return tuple(settings.topic(layout.name) for layout in missing)


async def problems(
    settings: Settings, admin: AIOKafkaAdminClient, *, reads_predictions: bool = False
) -> tuple[str, ...]:
    """Return which topics are missing or have another number of partitions than `transactions`; empty if none.

    A topic that no worker uses may be missing; `predictions` is used if features read any.
    """
    counts = await partition_counts(admin, settings)
    needed = _of_workers(settings, reads_predictions=reads_predictions)
    missing = [topic for topic in needed if topic not in counts]
    if missing:
        unseen = "" if settings.kafka_security_protocol == "PLAINTEXT" else f" ({HIDDEN})"
        advice = f"create them with `fraudstream topics apply --partitions N`{unseen}"
        return (f"missing: {', '.join(missing)}; {advice}",)
    return tuple(count_problems(settings, counts, reads_predictions=reads_predictions))


def count_problems(settings: Settings, counts: Mapping[str, int], *, reads_predictions: bool = False) -> list[str]:
    """Return which of these topics have another number of partitions than `transactions`, and what to do.

    A topic that no worker uses may have any.
    """
    transactions = settings.topic(TRANSACTIONS.name)
    if transactions not in counts:
        return []
    needed = _of_workers(settings, reads_predictions=reads_predictions)
    counts = {topic: count for topic, count in counts.items() if topic in needed}
    return [
        f"topic {topic} has {counts[topic]} partitions, but {transactions} has {counts[transactions]}: payments and "
        "labels without an output partition wait. Add partitions to the topic that has fewer, with Kafka's own tools; "
        "the cards whose records other partitions take now are counted in both"
        if wanted > 1
        else f"topic {topic} has {counts[topic]} partitions, but must have 1: make it anew"
        for topic, wanted in _wrong_counts(settings, counts, counts[transactions])
    ]


def _of_workers(settings: Settings, *, reads_predictions: bool) -> list[str]:
    """Return the topics that workers use; they use `predictions` if features read any."""
    used = (one for one in LAYOUTS if one.of_workers or (reads_predictions and one is PREDICTIONS))
    return [settings.topic(layout.name) for layout in used]


async def risks(settings: Settings, admin: AIOKafkaAdminClient) -> tuple[str, ...]:
    """Return what could lose acknowledged decisions: too few replicas, or too few of them in sync.

    `topic_settings` looks for unclean leader election, of every topic and while the worker runs.

    Raises:
        aiokafka.errors.KafkaError: the broker does not respond.
    """
    name = settings.topic(SCORES.name)
    (described,) = await admin.describe_topics([name])
    replicas = min((len(partition["replicas"]) for partition in described["partitions"]), default=0)
    asked = [ConfigResource(ConfigResourceType.TOPIC, name)]
    answers = [answer for response in await admin.describe_configs(asked) for answer in response.resources]
    configured = {key: value for *_, entries in answers for key, value, *_ in entries}
    found = []
    if replicas < _SAFE_REPLICATION:
        found.append(f"{replicas} replicas; {_SAFE_REPLICATION} are needed to survive the loss of one")
    if any(code for code, *_ in answers):
        found.append("its configuration could not be read (DescribeConfigs), so it could not be checked further")
    elif int(configured.get("min.insync.replicas") or 1) < _SAFE_REPLICATION - 1:
        found.append(f"min.insync.replicas below {_SAFE_REPLICATION - 1}: one broker's disk may hold the only copy")
    return tuple(f"{name}: {risk}" for risk in found)


async def partition_counts(admin: AIOKafkaAdminClient, settings: Settings) -> dict[str, int]:
    """Return the number of partitions of each topic of the contract that exists.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not respond.
    """
    names = set(await admin.list_topics())
    layouts = layouts_of(settings)
    ours = [settings.topic(layout.name) for layout in layouts if settings.topic(layout.name) in names]
    described: list[dict[str, Any]] = await admin.describe_topics(ours) if ours else []
    return {topic["topic"]: len(topic["partitions"]) for topic in described if topic["error_code"] == 0}


async def has_records(settings: Settings, topic: str) -> bool:
    """Tell whether anything was ever written to an existing topic."""
    consumer = PlainConsumer(topic, **connection_options(settings), enable_auto_commit=False)
    try:
        await consumer.start()
        partitions = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic) or ()]
        return any((await consumer.end_offsets(partitions)).values())
    finally:
        await consumer.stop()


async def check_readable(settings: Settings, topic: str) -> None:
    """Check that a topic can be read, by reading at its end.

    Permission to write makes a topic visible too, so a missing permission to read would only show after a crash.

    Raises:
        aiokafka.errors.TopicAuthorizationFailedError: this client may not read it.
    """
    consumer = PlainConsumer(**connection_options(settings), enable_auto_commit=False, fetch_max_wait_ms=1)
    try:
        await consumer.start()
        consumer.assign([TopicPartition(topic, 0)])
        await consumer.seek_to_end()
        await consumer.getmany(timeout_ms=_CHECK_READ_MS)
    finally:
        await consumer.stop()


async def _create(
    admin: AIOKafkaAdminClient, settings: Settings, layouts: list[TopicLayout], shape: tuple[int, int]
) -> None:
    partitions, replication = shape
    new = [
        NewTopic(
            settings.topic(layout.name),
            partitions if layout.partitioned else 1,
            replication,
            topic_configs=layout.configuration(replication),
        )
        for layout in layouts
    ]
    errors = (await admin.create_topics(new)).topic_errors if new else []
    if any(code == InvalidConfigurationError.errno for _, code, *_ in errors):
        for topic in new:  # a broker before 3.6 does not know it; start-up says so
            topic.topic_configs.pop(LEAD_SETTING, None)
        errors = (await admin.create_topics(new)).topic_errors
    for topic, code, *message in errors:
        if code not in (0, TopicAlreadyExistsError.errno):
            few = (
                "; give --replication at most the number of brokers"
                if code == InvalidReplicationFactorError.errno
                else ""
            )
            why = " ".join(map(str, filter(None, message))).rstrip(".")
            raise TopicsError(f"{topic}: {for_code(code).__name__} {why}{few}")


async def _await_visible(admin: AIOKafkaAdminClient, settings: Settings, created: Collection[str]) -> None:
    """Wait, at most 10 s, until the broker tells of new topics: it may answer before its metadata have them.

    A command that comes next would call them missing.
    """
    deadline = time.monotonic() + _VISIBLE_SECONDS
    while True:
        found = await partition_counts(admin, settings)
        if all(topic in found for topic in created) or time.monotonic() >= deadline:
            return
        await asyncio.sleep(_LOOK_SECONDS)


def _wrong_counts(settings: Settings, counts: Mapping[str, int], partitions: int) -> list[tuple[str, int]]:
    """Return each existing topic whose number of partitions is not the wanted one, and that number."""
    layouts = layouts_of(settings)
    wanted = {settings.topic(layout.name): partitions if layout.partitioned else 1 for layout in layouts}
    return [(topic, number) for topic, number in wanted.items() if counts.get(topic, number) != number]


def _refused_counts(settings: Settings, counts: Mapping[str, int], wrong: Iterable[tuple[str, int]]) -> str:
    """Say which topics have another number of partitions than they must have, a line each, and what to do."""
    lines = [f"topic {topic} has {counts[topic]} partitions, but must have {wanted}" for topic, wanted in wrong]
    partitioned = (settings.topic(layout.name) for layout in layouts_of(settings) if layout.partitioned)
    found = {counts[topic] for topic in partitioned if topic in counts}
    given = f"give --partitions {found.pop()}, " if len(found) == 1 else ""
    advice = (
        f"This command never changes the number, since a card's records would be split: {given}choose another "
        'FRAUDSTREAM_TOPIC_PREFIX, or see "Add partitions" in the documentation (docs/how-to/operate/add-partitions.md)'
    )
    return "\n".join([*lines, advice])
