"""Who was live at a time, for which share of the cards, since which payment of each partition.

The event log says who and why. A partition's first payment is that of its `cutover` event, which is an index; the
scores themselves are read beside it, and what they say counts: those on `scores`, from when the deployment published,
and those on its own topic, from when it decided silently.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from fraudstream_client.arms import LIVE
from fraudstream_client.outputs import DecidedBy, Score
from fraudstream_client.validity import ValidScores, place_of
from models.arms import Canary, Split
from models.commands import Event, EventKind
from models.times import stated_ms
from stream.control.client import history_with_commands, read_log
from stream.control.history import History, HistoryEntry, ModelRoles
from stream.kafka.topics import decision_topics
from stream.scan import EARLIER_SCORES, scan_topic
from stream.settings import Settings

_CLOCKS_MS = 60_000
"""The judge's clock and the brokers' may differ by this much."""


class Reign(NamedTuple):
    """A stretch of revisions under which the same models decided for the same cards; `until` is the first one after.

    `entry` is the verdict that began it, and who asked for it; `until` is None if it goes on.
    """

    entry: HistoryEntry
    first: int
    until: int | None

    @property
    def live(self) -> str:
        """The live model's digest."""
        return str(self.entry.after.live)

    @property
    def canary(self) -> Canary | None:
        """The canary beside it."""
        return self.entry.after.canary

    @property
    def split(self) -> Split | None:
        """The split whose arms are beside it."""
        return self.entry.after.split

    def holds(self, revision: int) -> bool:
        """Tell whether a revision is of this stretch."""
        return self.first <= revision and (self.until is None or revision < self.until)

    def contradiction(self, score: Score) -> str | None:
        """Return how a decision of this stretch differs from what it says; None if it agrees."""
        split = self.split if self.canary is None else self.canary.split
        arm = LIVE if split is None else split.arms_of([score.card_id])[0]
        own = None if split is None else split.arm(arm)
        expected = self.live if own is None else own.model
        if score.arm != arm:
            return f"arm {score.arm}, where the card's bucket says {arm}"
        digest = None if score.model is None else score.model.digest
        if score.decided_by is DecidedBy.MODEL and digest != expected:
            return f"model {str(digest)[:12]}, where arm {arm} has {expected[:12]}"
        return None


class FirstDecision(NamedTuple):
    """The first decision of a partition under a stretch: by the `cutover` event, and by `scores`; None: there is none.

    `disagrees` says what the score contradicts: the event, or the stretch's models. With `earlier_deleted`, `decided`
    is the first that the topic still holds, and there may have been others.
    """

    cutover: int | None
    decided: int | None
    disagrees: str | None = None
    earlier_deleted: bool = False


class WhoAt(NamedTuple):
    """Who was live at a time; None if nobody was. `partitions` has the first decision of each."""

    reign: Reign | None
    partitions: Mapping[int, FirstDecision]
    history: History


Progress = Callable[[str, float], None]


async def who_at(settings: Settings, time_ms: int, progress: Progress) -> WhoAt:
    """Find out who was live at a time, and since which payments.

    Raises:
        ControlLogError: the event log has lost records.
        OtherHashKeyError: cards were excluded that are not known here.
        aiokafka.errors.KafkaError: the broker does not answer.
    """
    log = await read_log(settings)
    history = await history_with_commands(settings, log.events)
    reign = reign_at(history.entries, time_ms)
    if reign is None:
        return WhoAt(None, {}, history)
    if reign.split is not None:
        reign.split.exclude.require_key()
    cutovers = cutovers_of(log.events, reign)
    firsts, found = await _first_scores(settings, reign, progress), dict[int, FirstDecision]()
    for partition, first in firsts.items():
        offsets = cutovers.get(partition, {})
        if first is not None or offsets:
            found[partition] = first_decision(offsets, first, reign)
    return WhoAt(reign, found, history)


async def _first_scores(settings: Settings, reign: Reign, progress: Progress) -> dict[int, "FirstScore | None"]:
    """Return the deployment's first valid decision under a stretch by partition; None where there is none."""
    since_ms, firsts = stated_ms(reign.entry.event.at) - _CLOCKS_MS, dict[int, list[FirstScore]]()
    for topic in await decision_topics(settings):
        async with scan_topic(settings, topic, since_ms) as whole:
            partitions = sorted(whole.first)
        for partition in partitions:
            one = await _first_score(settings, (topic, partition, since_ms), reign)
            firsts.setdefault(partition, []).extend([] if one is None else [one])
            progress(topic, (partition + 1) / len(partitions))
    return {partition: earliest(some) for partition, some in sorted(firsts.items())}


def reign_at(entries: Sequence[HistoryEntry], time_ms: int) -> Reign | None:
    """Return the stretch of revisions at a time: of the last acceptance until then; None if nobody was live."""
    changes = [one for one in entries if not one.void and _who(one.before) != _who(one.after)]
    begun = [at for at, one in enumerate(changes) if stated_ms(one.event.at) <= time_ms]
    if not begun or changes[begun[-1]].after.live is None:
        return None
    at = begun[-1]
    later = changes[at + 1].event.revision if at + 1 < len(changes) else None
    return Reign(changes[at], changes[at].event.revision, later)


def cutovers_of(events: Sequence[Event], reign: Reign) -> dict[int, dict[int, int]]:
    """Return by partition the first offset that a worker announced for each revision of the stretch."""
    found: dict[int, dict[int, int]] = {}
    for event in events:
        if event.kind is not EventKind.CUTOVER or event.partition is None or event.offset is None:
            continue
        if reign.holds(event.revision):
            found.setdefault(event.partition, {}).setdefault(event.revision, event.offset)
    return found


class FirstScore(NamedTuple):
    """A partition's first valid decision under a stretch; `is_first` unless what was before it may be deleted."""

    score: Score
    is_first: bool


def earliest(firsts: Sequence[FirstScore]) -> FirstScore | None:
    """Return the first of the first decisions on several topics; none is known to be it if some may be deleted."""
    if not firsts:
        return None
    first = min(firsts, key=lambda one: place_of(one.score.source.log, one.score.source.offset))
    return first._replace(is_first=all(one.is_first for one in firsts))


async def _first_score(settings: Settings, where: tuple[str, int, int], reign: Reign) -> FirstScore | None:
    """Read a partition of scores since a time until its first valid decision under the stretch, or a later one."""
    (topic, partition, since_ms), valid, has_earlier = where, ValidScores[Any](), False
    async with scan_topic(settings, topic, since_ms, EARLIER_SCORES) as scores:
        scores.start_at({partition: scores.first[partition]})
        async for records, _share in scores.read():
            for record, score in valid.of(records):
                if score.deployment != settings.deployment or score.revision < reign.first:
                    has_earlier = True
                    continue
                if not reign.holds(score.revision):
                    return None
                return FirstScore(score, has_earlier or record.offset == 0)
    return None


def first_decision(cutovers: Mapping[int, int], first: FirstScore | None, reign: Reign) -> FirstDecision:
    """Return a partition's first decision under a stretch; `cutovers` are the announced offsets by revision."""
    if first is None:
        return FirstDecision(min(cutovers.values()), None)
    score = first.score
    offset, cutover, disagrees = score.source.offset, cutovers.get(score.revision), reign.contradiction(score)
    if not first.is_first:
        return FirstDecision(cutover, offset, disagrees, earlier_deleted=True)
    if disagrees is None and cutover is not None and cutover != offset:
        disagrees = f"offset {offset}, where the cutover event says {cutover}"
    return FirstDecision(cutover, offset, disagrees)


def _who(roles: ModelRoles) -> tuple[str | None, Canary | None, Split | None]:
    return roles.live, roles.canary, roles.split
