"""Incidents of a fleet: what `incidents` says of them, and a recount of the topics in plain Python."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from fraudstream.ops.watch.incidents.told import read_incident
from fraudstream_client.incidents import Incident, IncidentKind, IncidentRule
from models.times import stated_ms
from support.fleet.fleet import Fleet, until
from support.fleet.workers import GUARD_COMMAND, Worker
from support.webhook_receiver import Receiver

Fields = dict[str, Any]
Shows = Callable[[Fields], bool]


class Recount(NamedTuple):
    """A number of payments, their amounts by currency, what decided them, and when the first and the last one was."""

    events: int
    amounts: dict[str, int]
    decided: dict[str, dict[str, int]]
    since_ms: int | None
    until_ms: int | None

    @classmethod
    def of(cls, found: Iterable[tuple[int, Fields]]) -> "Recount":
        """Count payments, each with its time."""
        payments = list(found)
        amounts, decided = Counter[str](), dict[str, Counter[str]]()
        for _, one in payments:
            amounts[one["currency"]] += one["amount_minor"]
            decided.setdefault(one["decided_by"], Counter())[one["decision"]] += 1
        times = [at_ms for at_ms, _ in payments]
        counts = {by: dict(each) for by, each in decided.items()}
        return cls(len(payments), dict(amounts), counts, min(times, default=None), max(times, default=None))


def stated(incident: Incident) -> Recount:
    """Return what an incident states."""
    decided = {by: dict(each) for by, each in incident.decided.items()}
    since_ms, until_ms = stated_ms(incident.since), stated_ms(incident.until)
    return Recount(incident.events, dict(incident.amounts), decided, since_ms, until_ms)


def valid_scores(fleet: Fleet) -> Iterator[tuple[int, Fields]]:
    """Yield each payment's first score, with the record's time; no worker of these fleets outlives its assignment."""
    seen = set[tuple[int, int]]()
    for record in fleet.read("scores"):
        fields = json.loads(record.value or b"")
        place = record.partition, fields["source"]["offset"]
        if place not in seen:
            yield record.timestamp, fields
        seen.add(place)


def recounted(fleet: Fleet, shows: Shows, up_to_s: int | None = None) -> Recount:
    """Count the payments that show something, those of one second and earlier if it is given."""
    found = ((at_ms, one) for at_ms, one in valid_scores(fleet) if up_to_s is None or at_ms // 1000 <= up_to_s)
    return Recount.of((at_ms, one) for at_ms, one in found if shows(one))


def told(fleet: Fleet) -> list[Incident]:
    """Return the records of incidents, without repeats, in the order of the topic."""
    found: dict[tuple[str, int, IncidentKind], Incident] = {}
    for record in fleet.read("incidents"):
        incident = read_incident(record.value)
        assert incident is not None
        found.setdefault((incident.incident_id, incident.sequence, incident.kind), incident)
    return list(found.values())


def of_rule(fleet: Fleet, rule: IncidentRule, kind: IncidentKind | None = None) -> list[Incident]:
    return [one for one in told(fleet) if one.rule is rule and kind in (None, one.kind)]


def await_incident(fleet: Fleet, rule: IncidentRule, kind: IncidentKind, seconds: float = 60.0) -> Incident:
    """Wait until an incident of a rule is told of, and return the first record of this kind."""
    until(lambda: of_rule(fleet, rule, kind) != [], f"{rule} is {kind}", seconds)
    return of_rule(fleet, rule, kind)[0]


def guard_of(fleet: Fleet, *arguments: str, **settings: str) -> Worker:
    """Start a guard, and wait until it answers."""
    guard = fleet.worker((*GUARD_COMMAND, *arguments), **settings)
    guard.await_ready()
    return guard


def report_of(fleet: Fleet, incident: Incident) -> Mapping[str, Any]:
    """Return what `incident report` says of it."""
    done = fleet.cli("incident", "report", incident.incident_id, "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found: Mapping[str, Any] = json.loads(done.stdout)
    return found


class ReceiverThread:
    """A receiver of webhooks in a thread of its own, which can be down for a while."""

    def __init__(self, receiver: Receiver, loop: asyncio.AbstractEventLoop) -> None:
        self.receiver = receiver
        self._loop = loop

    @property
    def ids(self) -> list[str]:
        """The ids of the events that were accepted, in their order."""
        return [one.event["id"] for one in list(self.receiver.accepted)]

    def stop(self) -> None:
        """Refuse connections."""
        asyncio.run_coroutine_threadsafe(self.receiver.stop(), self._loop).result(20)

    def start(self) -> None:
        """Accept connections, on the same port."""
        asyncio.run_coroutine_threadsafe(self.receiver.start(), self._loop).result(20)


@contextmanager
def running_receiver() -> Iterator[ReceiverThread]:
    """Run a receiver that accepts everything."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="receiver")
    thread.start()
    running = ReceiverThread(Receiver(), loop)
    try:
        running.start()
        yield running
    finally:
        running.stop()
        loop.call_soon_threadsafe(loop.stop)
        thread.join(20)
        loop.close()
