"""What this worker's challengers missed: counted by challenger, told as facts, and now and then written as an event.

When an event is worth it is said by `shadow.history`.
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Literal
from uuid import uuid4

from aiokafka.errors import KafkaError

from models.commands import Event, EventKind
from models.problems import Problem, ProblemCode
from models.times import format_time
from shadow.history import ReportSchedule, Totals
from stream.control.follower import Follower
from stream.kafka.publisher import Publisher
from stream.scoring.facts import FactListener, Missed

log = logging.getLogger("fraudstream.shadow")


@dataclass(slots=True)
class ChallengerTotals:
    """One challenger's totals since this worker took it up, at `revision`, and why it last failed."""

    revision: int
    totals: Totals = field(default_factory=Totals)
    telling: ReportSchedule = field(default_factory=ReportSchedule)
    why: str | None = None


class MissLog:
    """Keeps an account for each challenger that has missed or compared something and is still there."""

    def __init__(self, follower: Follower, publisher: Publisher, worker: str, emit: FactListener) -> None:
        self._follower = follower
        self._publisher = publisher
        self._worker = worker
        self._emit = emit
        self._accounts: dict[str, ChallengerTotals] = {}

    def compared(self, digest: str, count: int) -> None:
        """Count what came through."""
        account = self._of(digest)
        account.totals = account.totals.plus(Totals(compared=count))

    def missed(self, digest: str, reason: Literal["skipped", "failed"], count: int, why: str | None = None) -> None:
        """Count what did not, and say so to whoever listens."""
        if not count:
            return
        account = self._of(digest)
        account.totals = account.totals.plus(Totals(**{reason: count}))
        account.why = why or account.why
        self._emit(Missed(digest, reason, count))

    async def look(self, kept: Collection[str], now_ms: int) -> None:
        """Write what is due, and the last word on challengers that are gone; a broker that is away is asked again."""
        for digest, account in tuple(self._accounts.items()):
            gone = digest not in kept
            due = account.telling.final_due(account.totals) if gone else account.telling.is_due(account.totals, now_ms)
            if due and not await self._write(digest, account, now_ms):
                continue
            if gone:
                del self._accounts[digest]

    def _of(self, digest: str) -> ChallengerTotals:
        return self._accounts.setdefault(digest, ChallengerTotals(self._follower.lineup.revision))

    async def _write(self, digest: str, account: ChallengerTotals, now_ms: int) -> bool:
        totals = account.totals
        problems = (Problem(ProblemCode.SHADOW_FAILED, account.why),) if account.why else ()
        event = Event(
            event_id=uuid4().hex,
            deployment=self._follower.lineup.deployment,
            kind=EventKind.SHADOW,
            revision=account.revision,
            worker=self._worker,
            at=format_time(now_ms),
            model=digest,
            compared=totals.compared,
            skipped=totals.skipped,
            failed=totals.failed,
            problems=problems,
        )
        try:
            await self._publisher.publish_event(event)
        except KafkaError as error:
            log.warning("what challenger %s missed is not written yet: %s", digest[:12], error)
            return False
        account.telling = account.telling.after(totals, now_ms)
        return True
