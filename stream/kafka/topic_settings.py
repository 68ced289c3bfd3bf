"""The settings by which Kafka loses records: whether those of the topics keep records as long as they are needed.

Other tooling may set them at any time, so they are checked at start-up and while a worker runs. They are mended by
`fraudstream topics apply` alone.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code

from features.history.store import Entity
from stream.errors import TopicsError
from stream.kafka.client import explain_error, open_admin
from stream.kafka.stray import given_up_as_error
from stream.kafka.topics import (
    LABELS,
    LARGEST_LEAD_MS,
    LAYOUTS,
    LEAD_SETTING,
    NO_HORIZONS,
    PREDICTIONS,
    TRANSACTIONS,
    UNLIMITED,
    TopicLayout,
    kept_for,
)
from stream.settings import Settings

log = logging.getLogger("fraudstream.topics")

SIZE_SETTING = "max.message.bytes"
UNCLEAN_SETTING = "unclean.leader.election.enable"
RETENTION_SETTINGS = frozenset({"cleanup.policy", "retention.ms", "retention.bytes"})
TIMESTAMP_TYPE, BY_BROKERS = "message.timestamp.type", "LogAppendTime"
_CHECK_SECONDS = 60.0
_SET_ON_THE_TOPIC = 1
"""The source of a setting, in a response, that is the topic's own; others come from the broker."""


_HARMS: Mapping[str, str] = {
    LEAD_SETTING: "a record from the far future is refused by the workers' own clocks only",
    UNCLEAN_SETTING: "a broker that lacks acknowledged records may become the leader, and they are lost",
}
"""What a setting does, where it is not that records are deleted."""


class Deviation(NamedTuple):
    """A setting of a topic by which records are lost or deleted too soon, what it is, and what it must be."""

    topic: str
    setting: str
    found: str
    wanted: str

    def __str__(self) -> str:
        """Say what is wrong, and the command that mends it."""
        harm = _HARMS.get(self.setting, "records that are needed will be deleted")
        return (
            f"{self.topic}: {self.setting} is {self.found or 'empty'} instead of {self.wanted}, so {harm}; mend it by "
            "`fraudstream topics apply`, or kafka-configs.sh --alter --entity-type topics --entity-name "
            f"{self.topic} --add-config {self.setting}={self.wanted}"
        )


def _keeps_as_long(found: str, wanted: str) -> bool:
    """Compare a retention; -1 is for ever."""
    try:
        return int(found) == UNLIMITED or UNLIMITED != int(wanted) <= int(found)
    except ValueError:
        return False


def _leads_no_further(found: str, wanted: str) -> bool:
    return found.isdecimal() and int(found) <= int(wanted)


_RULES: Mapping[str, Callable[[str, str], bool]] = {
    "cleanup.policy": str.__eq__,
    "retention.ms": _keeps_as_long,
    "retention.bytes": _keeps_as_long,
    LEAD_SETTING: _leads_no_further,
    UNCLEAN_SETTING: str.__eq__,
}
"""When a setting will do, given what it is and what the layout says."""


class TopicConfiguration(NamedTuple):
    """A topic's settings, and which of them are its own; `error` says why they could not be read."""

    values: Mapping[str, str]
    own: frozenset[str]
    error: str | None = None


class Findings(NamedTuple):
    """The deviations of all topics, and which topics' settings could not be checked, and why.

    `bounded` are the topics whose brokers take no record that is more than an hour ahead of their clocks, `unbounded`
    the others that were checked.
    """

    deviations: tuple[Deviation, ...]
    unread: tuple[str, ...]
    bounded: frozenset[str] = frozenset()
    unbounded: frozenset[str] = frozenset()


def deviations_of(layout: TopicLayout, topic: str, values: Mapping[str, str]) -> Iterator[Deviation]:
    """Yield the settings of a topic that lose records; one that a broker does not name, it does not have."""
    wanted = layout.configuration(1) | {"retention.bytes": str(UNLIMITED), UNCLEAN_SETTING: "false"}
    for setting in _RULES.keys() & values.keys() & wanted.keys():
        if not _RULES[setting](values[setting], wanted[setting]):
            yield Deviation(topic, setting, values[setting], wanted[setting])


async def deviations(
    settings: Settings, admin: AIOKafkaAdminClient, horizons_ms: Mapping[Entity, int] = NO_HORIZONS
) -> Findings:
    """Check the settings of all topics that exist; histories of `horizons_ms` may need the inputs for longer.

    Raises:
        aiokafka.errors.KafkaError: the broker does not respond.
    """
    configurations = await read_configurations(settings, admin)
    found = [
        one
        for layout in LAYOUTS
        if (topic := settings.topic(layout.name)) in configurations and configurations[topic].error is None
        for one in deviations_of(kept_for(horizons_ms, layout), topic, configurations[topic].values)
    ]
    unread = [f"{topic}: {one.error}" for topic, one in configurations.items() if one.error is not None]
    checked = frozenset(topic for topic, one in configurations.items() if one.error is None)
    bounded = frozenset(topic for topic in checked if is_bounded(configurations[topic].values))
    return Findings(tuple(found), tuple(unread), bounded, checked - bounded)


def is_bounded(values: Mapping[str, str]) -> bool:
    """Tell by a topic's settings whether its brokers take no record that is more than an hour ahead of their clocks."""
    stamped_by_brokers = values.get(TIMESTAMP_TYPE) == BY_BROKERS
    return stamped_by_brokers or _leads_no_further(values.get(LEAD_SETTING, ""), str(LARGEST_LEAD_MS))


async def mend(settings: Settings, horizons_ms: Mapping[Entity, int] = NO_HORIZONS) -> Findings:
    """Set what loses records, leave all other settings, and return what was changed or not checked.

    Raises:
        TopicsError: the broker does not respond, or a topic's settings may not be changed.
    """
    try:
        async with open_admin(settings) as admin:
            return await _mend(settings, admin, horizons_ms)
    except KafkaError as error:
        raise TopicsError(await explain_error(settings, error)) from error


async def _mend(settings: Settings, admin: AIOKafkaAdminClient, horizons_ms: Mapping[Entity, int]) -> Findings:
    found = await deviations(settings, admin, horizons_ms)
    configurations = await read_configurations(settings, admin) if found.deviations else {}
    for topic in sorted({one.topic for one in found.deviations}):
        values, own, _ = configurations[topic]
        # The request replaces all settings of a topic, so its own ones are sent again.
        changes = {one.setting: one.wanted for one in found.deviations if one.topic == topic}
        await _alter(admin, topic, {name: values[name] for name in own} | changes)
    return found


async def losing_settings(settings: Settings, horizons_ms: Mapping[Entity, int]) -> Findings:
    """Return by which settings inputs are deleted before histories of `horizons_ms` need them no more.

    Unclean leader election is among them, of any topic.

    Raises:
        aiokafka.errors.KafkaError: the broker does not respond.
    """
    async with open_admin(settings) as admin:
        found = await deviations(settings, admin, horizons_ms)
    inputs = {settings.topic(layout.name) for layout in (TRANSACTIONS, LABELS)}
    if any(kind is Entity.PREDICTION for kind in horizons_ms):
        inputs.add(settings.topic(PREDICTIONS.name))
    losing = (
        one
        for one in found.deviations
        if one.setting == UNCLEAN_SETTING or (one.topic in inputs and one.setting in RETENTION_SETTINGS)
    )
    return found._replace(deviations=tuple(losing))


async def _alter(admin: AIOKafkaAdminClient, topic: str, values: Mapping[str, str]) -> None:
    for response in await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, dict(values))]):
        for code, message, *_ in response.resources:
            if code:
                raise TopicsError(f"{topic}: {for_code(code).__name__} {message or ''}".rstrip())


async def read_configurations(settings: Settings, admin: AIOKafkaAdminClient) -> dict[str, TopicConfiguration]:
    """Return the settings of each topic that exists.

    Raises:
        aiokafka.errors.KafkaError: the broker does not respond.
    """
    names = set(await admin.list_topics())
    asked = [
        ConfigResource(ConfigResourceType.TOPIC, name)
        for layout in LAYOUTS
        if (name := settings.topic(layout.name)) in names
    ]
    answers = [one for response in await admin.describe_configs(asked) for one in response.resources] if asked else []
    return {topic: _configuration(code, entries) for code, _, _, topic, entries in answers}


def _configuration(code: int, entries: list[tuple[Any, ...]]) -> TopicConfiguration:
    if code:
        return TopicConfiguration(
            {}, frozenset(), f"its settings cannot be checked (DescribeConfigs): {for_code(code).__name__}"
        )
    values = {name: value or "" for name, value, *_ in entries}
    return TopicConfiguration(
        values, frozenset(name for name, _, _, source, *_ in entries if source == _SET_ON_THE_TOPIC)
    )


class TopicWatch:
    """Checks the topics' settings regularly, and warns whenever something else is wrong than before."""

    def __init__(
        self, settings: Settings, admin: AIOKafkaAdminClient, horizons_ms: Mapping[Entity, int] = NO_HORIZONS
    ) -> None:
        self._settings = settings
        self._admin = admin
        self._horizons_ms = horizons_ms
        self._said: frozenset[str] = frozenset()
        self.deviating: Mapping[str, int] = {}
        """How many settings of each topic lose records, or delete them too soon."""
        self.bounded: frozenset[str] = frozenset()
        """The topics that cannot hold a record that is more than an hour ahead of their brokers' clocks."""

    async def check(self) -> None:
        """Check once.

        Raises:
            aiokafka.errors.KafkaError: the broker does not respond.
        """
        found, unread, bounded, unbounded = await deviations(self._settings, self._admin, self._horizons_ms)
        self.bounded = (self.bounded | bounded) - unbounded  # of one that cannot be checked now, as it was
        counts = Counter(one.topic for one in found)
        self.deviating = {
            self._settings.topic(layout.name): counts[self._settings.topic(layout.name)] for layout in LAYOUTS
        }
        warnings = frozenset({*map(str, found), *unread})
        for warning in sorted(warnings - self._said):
            log.warning("%s", warning)
        if self._said and not warnings:
            log.warning("the settings of all topics keep records as long as they are needed again")
        self._said = warnings

    async def run(self) -> None:
        """Check for ever; a broker that does not respond is asked again."""
        while True:
            await asyncio.sleep(_CHECK_SECONDS)
            try:
                with given_up_as_error():
                    await self.check()
            except KafkaError as error:
                log.info("the settings of the topics cannot be checked, retrying: %s", error)
