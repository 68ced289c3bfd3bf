"""Who has published since when, by term, and what each deployment's lineup is: a fold over all of `model-events`."""

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import NamedTuple

from models.commands import Event, EventKind, read_event
from models.lineup import Lineup, follow
from models.terms import Term, follow_term
from models.times import stated_ms
from models.worker_records import WorkerRecords
from stream.control.log_reader import LogReader
from stream.settings import Settings


class TermStart(NamedTuple):
    """The term that an acceptance began, at a time in epoch milliseconds."""

    number: int
    deployment: str
    at_ms: int


class Publishers(NamedTuple):
    """The present term, the beginning of each, oldest first, and the lineup of each deployment with a verdict.

    `workers` is what workers have said of themselves.
    """

    term: Term
    starts: tuple[TermStart, ...]
    lineups: Mapping[str, Lineup]
    workers: WorkerRecords

    def lineup(self, deployment: str) -> Lineup:
        """Return the lineup of a deployment; that of a new one if nothing was ever judged in it."""
        return self.lineups.get(deployment, Lineup(deployment))

    def since_ms(self, deployment: str) -> int | None:
        """Return since when a deployment publishes, or since when it does not any more; None if it never did."""
        if deployment == self.term.publisher:
            return self.starts[-1].at_ms
        ends = [after.at_ms for one, after in pairwise(self.starts) if one.deployment == deployment]
        return ends[-1] if ends else None

    def is_way_back(self, deployment: str) -> bool:
        """Tell whether a hand-over to a deployment only takes back the last one."""
        return self.term.earlier[-1:] == (deployment,)

    @property
    def silent(self) -> tuple[str, ...]:
        """The deployments with a verdict that do not publish, by name."""
        return tuple(sorted(self.lineups.keys() - {self.term.publisher}))


def publishers_of(events: Iterable[Event]) -> Publishers:
    """Fold the events of all deployments, in the order of the log; reports of workers change no lineup."""
    term, starts, lineups, workers = Term(), list[TermStart](), dict[str, Lineup](), WorkerRecords()
    for event in events:
        workers.add(event)
        if event.kind not in (EventKind.ACCEPTED, EventKind.REFUSED) or term.is_void(event):
            continue
        after = follow_term(term, event)
        if after != term:
            starts.append(TermStart(after.number, event.deployment, stated_ms(event.at)))
        term = after
        lineups[event.deployment] = follow(lineups.get(event.deployment, Lineup(event.deployment)), event)
    return Publishers(term, tuple(starts), lineups, workers)


async def read_publishers(settings: Settings) -> Publishers:
    """Read `model-events` once, for all deployments.

    Raises:
        ControlLogError: the log has lost records.
        aiokafka.errors.KafkaError: the broker does not answer.
    """
    async with LogReader(settings, reports=()) as reader:
        await reader.read_to_end()
        reader.require_trusted()
        kept = map(read_event, reader.log.fold.kept.values())
        return publishers_of(event for event in kept if isinstance(event, Event))._replace(workers=reader.workers)
