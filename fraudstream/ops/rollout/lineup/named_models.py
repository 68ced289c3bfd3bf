"""Which models the broker names: the history of every deployment, its commands, predictions, and kept decisions.

A repository may be shared by fleets with different topic prefixes, so every `model-events` of the broker counts.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import NamedTuple

import msgspec
from aiokafka import TopicPartition

from models.commands import Event, EventKind, read_event
from models.lineup import Lineup
from models.retention import Mentions
from stream.clock import now_ms
from stream.control.log_reader import LogReader
from stream.errors import ControlLogError
from stream.kafka.client import connection_options
from stream.kafka.stray import PlainConsumer
from stream.kafka.topics import INCIDENTS, MODEL_CONTROL, MODEL_EVENTS, PREDICTIONS, SCORES, SHADOW_SCORES
from stream.scan import offset_ranges, scan_topic
from stream.settings import Settings

_EXPLANATIONS = "explanations"
Tell = Callable[[str, float], None]
"""Receives which topic is read, and which share of it has been."""


class NamedModels(NamedTuple):
    """What names models, and how many records of which topics said so."""

    mentions: Mentions
    records: dict[str, int]


class FleetTopics(NamedTuple):
    """The topics of the fleets with one prefix: those of control, of predictions from storage, and of decisions."""

    prefix: str
    control: tuple[str, ...]
    predictions: tuple[str, ...]
    decisions: tuple[str, ...]


class NamingScope(NamedTuple):
    """What is read: decisions too, or only topics of control and predictions; of all prefixes, or only of our own.

    A model that publishes predictions is never promoted, so no topic but theirs may name it.
    """

    decisions: bool = True
    own_prefix: bool = False


async def read_named_models(settings: Settings, tell: Tell, scope: NamingScope) -> NamedModels:
    """Read what the history of every deployment names, and what the kept predictions and decisions name.

    Raises:
        ControlLogError: this fleet has no `model-events`, or one of them has lost records, so it does not name all.
        aiokafka.errors.KafkaError: the brokers do not respond.
    """
    fleets = fleet_topics(await _topic_names(settings))
    own = settings.topic(MODEL_EVENTS.name)
    if not _in_scope(settings, fleets, NamingScope(own_prefix=True)):
        raise ControlLogError(f"{own} is not on this broker, so nothing is known of which models were ever live")
    named = NamedModels(Mentions(), {})
    for fleet in _in_scope(settings, fleets, scope):
        for topic in fleet.control:
            await _read_control(settings, topic, named, tell)
        deployments = await _deployments(settings, fleet, tell)
        if not deployments:
            await _require_never_used(settings, fleet.prefix + MODEL_EVENTS.name)
        for deployment in deployments:
            await _read_roles(settings, fleet, deployment, named)
        for topic in fleet.predictions:
            await _read_records(settings, topic, named, (named.mentions.add_prediction, "predictions", tell))
        for topic in fleet.decisions if scope.decisions else ():
            await _read_records(settings, topic, named, (named.mentions.add_decision, "decisions", tell))
    return named


async def read_latest_names(settings: Settings, scope: NamingScope, since_ms: int) -> Mentions:
    """Read what the records of the control topics since a time of their timestamps name: a short read.

    Raises:
        ControlLogError: a record cannot be read.
        aiokafka.errors.KafkaError: the brokers do not respond.
    """
    named = NamedModels(Mentions(), {})
    for fleet in _in_scope(settings, fleet_topics(await _topic_names(settings)), scope):
        for topic in fleet.control:
            await _read_control(settings, topic, named, _silent, since_ms)
    return named.mentions


def _silent(_topic: str, _share: float) -> None:
    """Show no progress."""


def _in_scope(settings: Settings, fleets: Sequence[FleetTopics], scope: NamingScope) -> tuple[FleetTopics, ...]:
    return tuple(one for one in fleets if not scope.own_prefix or one.prefix == settings.topic_prefix)


def fleet_topics(names: Iterable[str]) -> tuple[FleetTopics, ...]:
    """Return the topics of each fleet of a broker; a fleet is known by its `model-events`."""
    known = sorted(names)
    prefixes = [name.removesuffix(MODEL_EVENTS.name) for name in known if name.endswith(MODEL_EVENTS.name)]
    return tuple(_fleet(prefix, known) for prefix in prefixes)


def _fleet(prefix: str, names: Sequence[str]) -> FleetTopics:
    control = {prefix + layout.name for layout in (MODEL_EVENTS, MODEL_CONTROL, INCIDENTS)}
    decisions = {prefix + name for name in (SCORES.name, SHADOW_SCORES.name, _EXPLANATIONS)}
    silent = f"{prefix}{SCORES.name}-"
    return FleetTopics(
        prefix,
        tuple(name for name in names if name in control),
        tuple(name for name in names if name == prefix + PREDICTIONS.name),
        tuple(name for name in names if name in decisions or name.startswith(silent)),
    )


def add_event(mentions: Mentions, event: Event, value: bytes) -> None:
    """Note what a record of `model-events` names, with the command that it accepts as the reason."""
    reason = f"history of {event.deployment}"
    if event.kind is EventKind.ACCEPTED:
        reason = f"{event.command} at revision {event.revision} of {event.deployment}"
    mentions.add_control(value, reason)


def add_roles(mentions: Mentions, lineup: Lineup, at_ms: int) -> None:
    """Note the models that have a role in a deployment."""
    canary, split = lineup.canary, lineup.split
    roles = [(lineup.live, "live"), (canary and canary.model, "canary")]
    roles += [(arm.model, f"arm {arm.name}") for arm in (() if split is None else split.arms)]
    roles += [(lineup.challenger_at(at_ms), "challenger"), (lineup.rollback_target, "roll-back target")]
    roles += [(digest, "quarantined") for digest in sorted(lineup.quarantined)]
    for digest, role in roles:
        if digest is not None:
            mentions.add(digest, f"{role} of {lineup.deployment}")


async def _topic_names(settings: Settings) -> frozenset[str]:
    consumer = PlainConsumer(**connection_options(settings), enable_auto_commit=False)
    try:
        await consumer.start()
        return frozenset(await consumer.topics())
    finally:
        await consumer.stop()


async def _values(settings: Settings, topic: str, tell: Tell, since_ms: int = 0) -> AsyncIterator[bytes]:
    """Yield the value of each record of a topic, or of those since a time of their timestamps.

    Raises:
        ControlLogError: some cannot be read, so nobody knows what they name.
    """
    async with scan_topic(settings, topic, since_ms) as scan:
        async for records, share in scan.read():
            for record in records:
                if record.damage:
                    where = f"{topic}-{record.partition} at offset {record.offset}"
                    raise ControlLogError(f"{where} cannot be read ({record.damage}), so it may name a model")
                yield record.value or b""
            tell(topic, share)
        if scan.unreadable:
            tp, one = scan.unreadable[0]
            raise ControlLogError(f"{topic}-{tp.partition} from offset {one.first} cannot be read: it may name a model")


async def _read_control(settings: Settings, topic: str, named: NamedModels, tell: Tell, since_ms: int = 0) -> None:
    count = 0
    async for value in _values(settings, topic, tell, since_ms):
        count += 1
        event = read_event(value) if topic.endswith(MODEL_EVENTS.name) else None
        if isinstance(event, Event):
            add_event(named.mentions, event, value)
        else:
            named.mentions.add_control(value, f"named on {topic}")
    named.records[topic] = count


async def _read_records(
    settings: Settings, topic: str, named: NamedModels, how: tuple[Callable[[bytes, str], None], str, Tell]
) -> None:
    count, (add, what, tell) = 0, how
    async for value in _values(settings, topic, tell):
        count += 1
        add(value, f"{what} on {topic}")
    named.records[topic] = count


async def _deployments(settings: Settings, fleet: FleetTopics, tell: Tell) -> list[str]:
    """Return the deployments of which a fleet's history has events."""
    found = {settings.deployment} if fleet.prefix == settings.topic_prefix else set[str]()
    async for value in _values(settings, fleet.prefix + MODEL_EVENTS.name, tell):
        event = read_event(value)
        if isinstance(event, Event):
            found.add(event.deployment)
    return sorted(found)


async def _require_never_used(settings: Settings, topic: str) -> None:
    """Require that a `model-events` without any event never had one.

    Raises:
        ControlLogError: it had, and they were removed.
    """
    begin, _ = (await offset_ranges(settings, [TopicPartition(topic, 0)]))[TopicPartition(topic, 0)]
    if begin > 0:
        raise ControlLogError(f"{topic} has lost its first {begin} records, and names no deployment")


async def _read_roles(settings: Settings, fleet: FleetTopics, deployment: str, named: NamedModels) -> None:
    """Note the present roles of a deployment.

    Raises:
        ControlLogError: its history has lost records.
    """
    theirs = msgspec.structs.replace(settings, topic_prefix=fleet.prefix, deployment=deployment)
    async with LogReader(theirs, ()) as reader:
        await reader.read_to_end()
        reader.require_trusted()
        add_roles(named.mentions, reader.log.fold.lineup, now_ms())
