"""What a deployment decided lately: up to which payment, by which versions of the code, and with which faults."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

from fraudstream.ops.repair.kept_letters import OriginalPlace, read_letter
from fraudstream.ops.rollout.deployments.decisions import faults_of
from models.times import format_time
from stream.contract.codes import DeadLetterCode
from stream.kafka.topics import DEAD_LETTERS
from stream.readers import ScoreView, ValidViews, read_scores
from stream.scan import EARLIER_SCORES, FetchedRecord, scan_topic
from stream.settings import Settings

_HOUR_MS = 3_600_000
_MOST_LETTERS = 100_000
"""So many dead letters of each deployment are held, to tell which of them the other one has not."""


class Faults(NamedTuple):
    """The faults of a deployment since a time.

    Of `decisions` some are `faulty`; `kinds` counts each thing that they lacked. `letters` are its dead letters;
    those in `own_letters` are an error of ours, or refuse what the deployment that publishes has not refused.
    """

    since_ms: int
    decisions: int = 0
    faulty: int = 0
    kinds: Mapping[str, int] = MappingProxyType({})
    letters: int = 0
    own_letters: int = 0

    @property
    def total(self) -> int:
        """How many faults there are."""
        return self.faulty + self.own_letters

    def facts(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        counts = {name: getattr(self, name) for name in ("total", "decisions", "faulty", "letters", "own_letters")}
        return {"since": format_time(self.since_ms), **counts, "kinds": dict(self.kinds)}


@dataclass(slots=True)
class RecentDecisions:
    """The last decisions of one deployment on the topic that it writes; faults are counted since a time.

    Attributes:
        valid: the rule of validity, with the place of the last valid decision of each partition.
        versions: how many of the decisions that were read each version of the code made.
    """

    deployment: str
    since_ms: int
    valid: ValidViews = field(default_factory=ValidViews)
    versions: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    decisions: int = 0
    faulty: int = 0
    last_ms: int = 0

    def add(self, records: Iterable[FetchedRecord]) -> None:
        """Count the next records of a partition."""
        for record, decision in self.valid.of(read_scores(records)):
            if decision.is_of(self.deployment):
                self._count(decision, is_recent=record.timestamp >= self.since_ms)

    def _count(self, decision: ScoreView, *, is_recent: bool) -> None:
        self.versions[decision.code_version] += 1
        self.last_ms = max(self.last_ms, decision.scored_ms)
        if not is_recent:
            return
        faults = faults_of(decision)
        self.decisions += 1
        self.faulty += bool(faults)
        self.kinds.update(faults)

    def faults(self, letters: "DeadLetterPlaces", publisher: str | None) -> Faults:
        """Return the faults since the time, with those that dead letters show."""
        shared = letters.of(publisher or self.deployment)
        own = {place: one for place, one in letters.of(self.deployment).items() if one.written_ms >= self.since_ms}
        ours = sum(one.code == DeadLetterCode.UNDECIDABLE or place not in shared for place, one in own.items())
        return Faults(self.since_ms, self.decisions, self.faulty, dict(self.kinds), len(own), ours)


class PlacedLetter(NamedTuple):
    """A dead letter: its code, and when it was written, in epoch milliseconds."""

    code: str
    written_ms: int


class DeadLetterPlaces:
    """The dead letters of each deployment since a time, by the place of the original."""

    def __init__(self) -> None:
        self._by_deployment: dict[str, dict[OriginalPlace, PlacedLetter]] = {}

    def add(self, records: Iterable[FetchedRecord]) -> None:
        """Add the next records of `dead-letters`."""
        for letter in filter(None, map(read_letter, records)):
            places = self._by_deployment.setdefault(letter.deployment, {})
            if len(places) < _MOST_LETTERS:
                places[letter.source] = PlacedLetter(letter.code, letter.record.timestamp)

    def of(self, deployment: str) -> Mapping[OriginalPlace, PlacedLetter]:
        """Return a deployment's dead letters by the place of the original."""
        return self._by_deployment.get(deployment, {})


async def read_recent(settings: Settings, topic: str, since_ms: int) -> RecentDecisions:
    """Read a topic of scores since a time, and the last decisions before it.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not answer, or the topic is missing.
    """
    found = RecentDecisions(settings.deployment, since_ms)
    async with scan_topic(settings, topic, since_ms, EARLIER_SCORES) as scan:
        async for records, _share in scan.read():
            found.add(records)
    return found


async def read_letters(settings: Settings, since_ms: int) -> DeadLetterPlaces:
    """Read `dead-letters` since a time, and for an hour before it: what the other deployment refused then is shared.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not answer, or the topic is missing.
    """
    found = DeadLetterPlaces()
    async with scan_topic(settings, settings.topic(DEAD_LETTERS.name), max(0, since_ms - _HOUR_MS)) as scan:
        async for records, _share in scan.read():
            found.add(records)
    return found
