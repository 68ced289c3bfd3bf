"""Count the comparisons that this worker's challengers missed, emit them as facts, and report totals as events.

`shadow.history.ReportSchedule` says when an event is due.
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal
from uuid import uuid4

from aiokafka.errors import KafkaError

from models.commands import EventKind
from models.problems import Problem, ProblemCode
from models.verdict_events import Origin
from shadow.history import ReportSchedule, Totals
from stream.control.follower import Follower
from stream.engine.publisher import Publisher
from stream.scoring.facts import FactListener, Missed

log = logging.getLogger("fraudstream.shadow")


@dataclass(slots=True)
class ChallengerTotals:
    """One challenger's totals since this worker loaded it, at `revision`, and why it last failed."""

    revision: int
    totals: Totals = field(default_factory=Totals)
    schedule: ReportSchedule = field(default_factory=ReportSchedule)
    why: str | None = None


class MissLog:
    """Keeps the totals of each challenger that has compared or missed something and is still in use."""

    def __init__(self, follower: Follower, publisher: Publisher, worker: str, emit: FactListener) -> None:
        self._follower = follower
        self._publisher = publisher
        self._worker = worker
        self._emit = emit
        self._totals: dict[str, ChallengerTotals] = {}

    def compared(self, digest: str, count: int) -> None:
        """Count comparisons."""
        challenger = self._of(digest)
        challenger.totals = challenger.totals.plus(Totals(compared=count))

    def missed(self, digest: str, reason: Literal["skipped", "failed"], count: int, why: str | None = None) -> None:
        """Count decisions without a comparison, and emit the fact."""
        if not count:
            return
        challenger = self._of(digest)
        challenger.totals = challenger.totals.plus(Totals(**{reason: count}))
        challenger.why = why or challenger.why
        self._emit(Missed(digest, reason, count))

    async def report_due(self, in_use: Collection[str], now_ms: int) -> None:
        """Publish the reports that are due, the final ones of challengers that are gone included; retry failed ones."""
        for digest, challenger in tuple(self._totals.items()):
            gone, schedule = digest not in in_use, challenger.schedule
            due = schedule.final_due(challenger.totals) if gone else schedule.is_due(challenger.totals, now_ms)
            if due and not await self._report(digest, challenger, now_ms):
                continue
            if gone:
                del self._totals[digest]

    def _of(self, digest: str) -> ChallengerTotals:
        return self._totals.setdefault(digest, ChallengerTotals(self._follower.lineup.revision))

    async def _report(self, digest: str, challenger: ChallengerTotals, now_ms: int) -> bool:
        totals = challenger.totals
        problems = (Problem(ProblemCode.SHADOW_FAILED, challenger.why),) if challenger.why else ()
        event = Origin(uuid4().hex, self._worker, now_ms).event(
            self._follower.lineup.deployment,
            EventKind.SHADOW,
            challenger.revision,
            model=digest,
            compared=totals.compared,
            skipped=totals.skipped,
            failed=totals.failed,
            problems=problems,
        )
        try:
            await self._publisher.publish_event(event)
        except KafkaError as error:
            log.warning("the report on challenger %s could not be written, retrying: %s", digest[:12], error)
            return False
        challenger.schedule = challenger.schedule.after(totals, now_ms)
        return True
