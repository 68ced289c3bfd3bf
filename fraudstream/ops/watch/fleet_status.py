"""One look at a deployment: who decides, how far behind each partition is, what its guard does next, what is open.

It joins what `deployment status`, `rollout status` and `incident list` read, and says what to look at first, with the
command to type. Nothing is written, and no guard needs to run.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from features.redis.age import missing_days, young_history
from fraudstream.ops.rollout.deployments.publishers import Publishers, read_publishers
from fraudstream.ops.rollout.deployments.recent import DeadLetterPlaces, read_letters
from fraudstream.ops.rollout.deployments.state import DeploymentState, read_states, target_of
from fraudstream.ops.rollout.guard import status as rollout_status
from fraudstream.ops.rollout.guard.finding import Limits
from fraudstream.ops.rollout.guard.presence import NO_GUARD, WITHOUT_A_GUARD
from fraudstream.ops.watch.fields.judgement import FieldFindings
from fraudstream.ops.watch.fields.sample import look_at_fields
from fraudstream.ops.watch.fields.telling import field_lines
from fraudstream.ops.watch.incidents.told import SHORT_ID, ToldIncident, read_incidents
from fraudstream_client.incidents import Severity
from guards.shares import share_text
from models.lineup import Lineup
from models.times import format_time
from stream.clock import now_ms
from stream.kafka.topics import TRANSACTIONS
from stream.scan import scan_topic
from stream.settings import PREFIX, Settings

LATE_MS = 60_000
"""A partition whose oldest payment has waited for so long is to be looked at."""
_FAULTS_MS = 600_000
_MANY_FAULTS = 0.05
_LETTERS_MS = 86_400_000


class PartitionWait(NamedTuple):
    """How far behind a partition is: records without a commit, and how old the first of them is.

    `waits_ms` is None where nothing waits, or where the first record is gone.
    """

    partition: int
    lag: int
    waits_ms: int | None


class FirstLook(NamedTuple):
    """Something to look at: what is wrong, and the command or setting that says more or mends it.

    `urgent` is what a person is woken for: payments wait, histories lack records, or a new model harms unhindered.
    """

    what: str
    command: str
    urgent: bool = False


class RecentLetters(NamedTuple):
    """The deployment's dead letters of the last day: how many of each code, and when the last one was written."""

    codes: Mapping[str, int] = MappingProxyType({})
    last_ms: int = 0

    @property
    def total(self) -> int:
        """How many there are."""
        return sum(self.codes.values())

    def facts(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "total": self.total,
            "codes": dict(self.codes),
            "last": format_time(self.last_ms) if self.total else None,
        }


class LookBack(NamedTuple):
    """How many days the features of the settings look back; `unknown` says why that is not known, empty if it is."""

    days: int = 0
    unknown: str = ""


class FleetStatus(NamedTuple):
    """What was found at a time; `incidents` are those that are open."""

    at_ms: int
    state: DeploymentState
    lineup: Lineup
    publishers: Publishers
    guard: rollout_status.Status
    partitions: tuple[PartitionWait, ...]
    incidents: tuple[ToldIncident, ...]
    letters: RecentLetters = RecentLetters()
    look_back: LookBack = LookBack()
    fields: FieldFindings | None = FieldFindings()
    """What comes of payments' fields; None where it could not be read in time."""

    @property
    def worst(self) -> PartitionWait | None:
        """The partition whose oldest payment has waited longest; None if none waits."""
        waiting = [one for one in self.partitions if one.waits_ms is not None]
        return max(waiting, key=lambda one: one.waits_ms or 0, default=None)

    def facts(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {
            "at": format_time(self.at_ms),
            "state": self.state.facts(),
            "roles": roles(self.lineup, self.at_ms),
            "publisher": self.publishers.term.publisher,
            "guard": rollout_status.facts(self.guard),
            "partitions": [one._asdict() for one in self.partitions],
            "incidents": [one.facts() for one in self.incidents],
            "dead_letters": self.letters.facts(),
            "history_missing_days": missing_days(self.state.histories.days, self.look_back.days),
            "fields": None if self.fields is None else self.fields.facts(),
            "look_first": [one._asdict() for one in look_first(self)],
        }


def roles(lineup: Lineup, at_ms: int) -> dict[str, Any]:
    """Return who decides and who is compared: full digests; None where nobody is."""
    canary, split = lineup.canary, lineup.split
    return {
        "live": lineup.live,
        "challenger": lineup.challenger_at(at_ms),
        "canary": None if canary is None else {"model": canary.model, "share_bp": canary.share_bp},
        "split": None
        if split is None
        else {arm.name: {"model": arm.model, "share_bp": arm.share_bp} for arm in split.arms},
        "before": lineup.rollback_target,
    }


async def read_fleet(settings: Settings, limits: Limits, tell: rollout_status.Tell) -> FleetStatus:
    """Read the settings' deployment once, apart from how far its features look back.

    Raises:
        ControlLogError: the event log has lost records.
        OtherHashKeyError: cards are excluded that are not known here.
        aiokafka.errors.KafkaError: the brokers do not answer, or a topic is missing.
    """
    publishers, at_ms = await read_publishers(settings), now_ms()
    target = target_of(settings, settings.deployment, {}, publishers.workers)
    (state,) = await read_states([target], publishers, at_ms - _FAULTS_MS)
    return FleetStatus(
        at_ms,
        state,
        publishers.lineup(settings.deployment),
        publishers,
        await rollout_status.read_status(settings, limits, tell),
        await _waits(settings, state.unread),
        tuple(one for one in await read_incidents(settings) if one.last.is_open),
        recent_letters(await read_letters(settings, at_ms - _LETTERS_MS), settings.deployment, at_ms),
        fields=await look_at_fields(settings),
    )


def recent_letters(letters: DeadLetterPlaces, deployment: str, at_ms: int) -> RecentLetters:
    """Return a deployment's dead letters of the day before a time."""
    recent = [one for one in letters.of(deployment).values() if one.written_ms >= at_ms - _LETTERS_MS]
    codes = Counter(one.code for one in recent)
    return RecentLetters(dict(codes.most_common()), max((one.written_ms for one in recent), default=0))


async def _waits(settings: Settings, unread: Mapping[int, range]) -> tuple[PartitionWait, ...]:
    """Return how far behind the partitions of `transactions` are; what was removed unread waits no longer."""
    found = []
    async with scan_topic(settings, settings.topic(TRANSACTIONS.name), 0) as scan:
        for partition, offsets in sorted(unread.items()):
            waiting = range(max(offsets.start, scan.first[partition]), offsets.stop)
            first = await scan.record_at(partition, waiting.start) if waiting else None
            waits_ms = None if first is None else max(0, now_ms() - first.timestamp)
            found.append(PartitionWait(partition, len(waiting), waits_ms))
    return tuple(found)


def look_first(status: FleetStatus) -> list[FirstLook]:
    """Return what to look at, the most urgent first; empty if there is nothing."""
    return [*_nobody_decides(status), *_incidents(status, Severity.PAGE), *_behind(status), *_histories(status),
            *_guard(status), *_incidents(status, Severity.TICKET), *_letters(status), *_faults(status),
            *_young(status), *_fields(status)]  # fmt: skip


def _nobody_decides(status: FleetStatus) -> Iterator[FirstLook]:
    state, publisher = status.state, status.publishers.term.publisher
    if status.lineup.live is None and publisher not in (None, state.deployment):
        what = f"deployment {state.deployment} has no live model, and {publisher} publishes: is its name right?"
        yield FirstLook(what, f"{PREFIX}DEPLOYMENT", urgent=True)
    elif status.lineup.live is None:
        yield FirstLook("no model is live, so every payment waits", "fraudstream model promote MODEL", urgent=True)
    if not state.workers:
        yield FirstLook(f"no worker runs in group {state.group}", "fraudstream worker", urgent=True)


def _incidents(status: FleetStatus, severity: Severity) -> Iterator[FirstLook]:
    for first, last in status.incidents:
        if last.severity is severity:
            what = f"incident {last.rule} since {first.since}: {last.text}"
            command = f"fraudstream incident report {last.incident_id[:SHORT_ID]} --details"
            yield FirstLook(what, command, urgent=severity is Severity.PAGE)


def _behind(status: FleetStatus) -> Iterator[FirstLook]:
    late = [one for one in status.partitions if (one.waits_ms or 0) >= LATE_MS]
    if late:
        worst = max(late, key=lambda one: one.waits_ms or 0)
        others = f", and {len(late) - 1} others" if len(late) > 1 else ""
        what = f"partition {worst.partition} waits for {duration_text(worst.waits_ms or 0)}{others}"
        yield FirstLook(f"{what}: {worst.lag:,} records there", "fraudstream deployment status", urgent=True)


def _histories(status: FleetStatus) -> Iterator[FirstLook]:
    histories = status.state.histories
    if histories.whole is not False or not status.state.decided_ms:  # a new deployment has none yet
        return
    if histories.answers:
        yield FirstLook(f"histories: {histories.found}", "fraudstream features rebuild", urgent=True)
    else:
        what = f"the histories are not known: {histories.found}. Does this URL name the workers' Redis?"
        yield FirstLook(what, f"{PREFIX}REDIS_URL")


def _guard(status: FleetStatus) -> Iterator[FirstLook]:
    finding, lineup, watched = status.guard.finding, status.lineup, status.guard.watched
    if finding is not None and watched is not None and status.guard.has_no_guard:
        yield FirstLook(f"{NO_GUARD}: {WITHOUT_A_GUARD[watched.stretch]}", "fraudstream guard", urgent=True)
    if lineup.frozen is not None:
        yield FirstLook("automatic commands are frozen", "fraudstream model thaw")
    if finding is not None and finding.breached:
        breached = ", ".join(sorted(map(str, finding.breached)))
        yield FirstLook(f"breached guards: {breached}", "fraudstream rollout status", urgent=True)
    if finding is not None and finding.held and watched is not None and watched.rollout is not None:
        yield FirstLook(f"the rollout is held: {'; '.join(finding.held)}", "fraudstream rollout status")


def _letters(status: FleetStatus) -> Iterator[FirstLook]:
    letters = status.letters
    if letters.total:
        codes = ", ".join(f"{code} {count:,}" for code, count in letters.codes.items())
        last = f"the last at {format_time(letters.last_ms)}"
        records = "1 record was" if letters.total == 1 else f"{letters.total:,} records were"
        yield FirstLook(f"{records} refused in the last day ({codes}), {last}", "fraudstream dead-letters list")


def _young(status: FleetStatus) -> Iterator[FirstLook]:
    if status.look_back.unknown:
        what = "whether histories are too young is not known, since the features cannot be loaded here"
        yield FirstLook(f"{what}: {status.look_back.unknown}", f"{PREFIX}FEATURES")
    elif status.state.decided_ms:
        for warning in young_history(status.state.histories.days, status.look_back.days):
            yield FirstLook(warning, "fraudstream backfill FILE")


def _faults(status: FleetStatus) -> Iterator[FirstLook]:
    faults = status.state.faults
    if faults.decisions and faults.faulty / faults.decisions >= _MANY_FAULTS:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in faults.kinds.items())
        what = f"{faults.faulty:,} of {faults.decisions:,} decisions of the last 10 minutes have a fault: {kinds}"
        yield FirstLook(what, "fraudstream deployment status")


def _fields(status: FleetStatus) -> Iterator[FirstLook]:
    """Yield what changed that no open incident tells of, as where no guard runs."""
    told = {name for _, last in status.incidents for name in last.reasons}
    for name, line in field_lines(status.fields):
        if name not in told:
            yield FirstLook(line, "fraudstream features list")


def duration_text(length_ms: int) -> str:
    """Return a length of time in the two largest units that it has."""
    seconds = length_ms // 1000
    if seconds < 1:
        return f"{length_ms} ms"
    units = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    parts: list[str] = []
    for unit, length in units:
        count, seconds = divmod(seconds, length)
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])


def role_rows(lineup: Lineup, at_ms: int) -> Iterator[tuple[str, str, str]]:
    """Yield role, digest and what is known of its share, of each model that decides or is compared."""
    arms = () if lineup.arms is None else lineup.arms.arms
    if lineup.live is not None:
        left = "" if lineup.arms is None else share_text(lineup.arms.live_bp)
        yield "live", lineup.live, left
    for arm in arms:
        yield ("canary" if lineup.canary is not None else f"arm {arm.name}"), arm.model, share_text(arm.share_bp)
    challenger = lineup.challenger_at(at_ms)
    if challenger is not None:
        until = lineup.watched_until_ms
        yield "challenger", challenger, "" if until is None else f"watched until {format_time(until)}"
    if lineup.rollback_target is not None:
        yield "live before", lineup.rollback_target, ""
