"""Report on the event log how long a new model takes for a row, so that its guard can hold it to a budget."""

import logging
from typing import NamedTuple

from aiokafka.errors import KafkaError

from guards.row_time import compared_us
from guards.specs import RowTimeSpec
from models.commands import EventKind
from models.lineup import Lineup
from models.rollouts import row_time_budget
from stream.clock import now_ms
from stream.control.announcements import new_origin
from stream.control.follower import Follower
from stream.control.model_cache import LoadedModels
from stream.engine.publisher import Publisher
from stream.tasks import until_tick

log = logging.getLogger("fraudstream.row_times")

_LOOK_SECONDS = 0.5
_PAUSE_MS = 60_000
"""A time that goes back and forth over its budget is reported at most so often."""


class GuardedModel(NamedTuple):
    """The model whose time is guarded, and its budget."""

    digest: str
    spec: RowTimeSpec


def guarded_models(lineup: Lineup, now_ms: int) -> list[GuardedModel]:
    """Return the models of the canary, of a split's arms, or of the watched promotion, and the budget of each."""
    digests = frozenset[str | None]()
    if lineup.arms is not None:
        digests = lineup.arms.models - {lineup.live}
    elif lineup.watched_until_ms is not None and now_ms < lineup.watched_until_ms:
        digests = frozenset({lineup.live})
    spec = row_time_budget(lineup.guarding)
    return [GuardedModel(digest, spec) for digest in sorted(filter(None, digests)) if spec is not None]


class Reported(NamedTuple):
    """What was reported last: at which revision, whether it was over the budget, and when."""

    revision: int
    is_over: bool
    at_ms: int


class RowTimeReports:
    """Reports the time of each guarded model once at each revision, and when it crosses its budget."""

    def __init__(self, follower: Follower, models: LoadedModels, publisher: Publisher, worker: str) -> None:
        self._follower = follower
        self._models = models
        self._publisher = publisher
        self._worker = worker
        self._reported: dict[str, Reported] = {}

    async def run(self) -> None:
        """Look for ever."""
        while True:
            await self.report_due(now_ms())
            await until_tick(_LOOK_SECONDS)

    async def report_due(self, now_ms: int) -> None:
        """Write the reports that are due; one that cannot be written is due again."""
        guarded = guarded_models(self._follower.lineup, now_ms)
        self._reported = {one.digest: self._reported[one.digest] for one in guarded if one.digest in self._reported}
        for one in guarded:
            await self._report_if_due(one, now_ms)

    async def _report_if_due(self, guarded: GuardedModel, now_ms: int) -> None:
        lineup, model = self._follower.lineup, self._models.get(guarded.digest)
        found = None if model is None else model.row_times.quantiles
        if found is None:
            return
        compared = compared_us(found.median_us, found.p95_us, found.p99_us)
        report = Reported(lineup.revision, compared > guarded.spec.budget_us, now_ms)
        if not _is_due(report, self._reported.get(guarded.digest)):
            return
        event = new_origin(self._worker).event(
            lineup.deployment,
            EventKind.ROW_TIME,
            lineup.revision,
            model=guarded.digest,
            row_us=round(found.median_us, 1),
            p95_us=round(found.p95_us, 1),
            p99_us=None if found.p99_us is None else round(found.p99_us, 1),
            features_us=round(found.features_us, 1),
        )
        try:
            await self._publisher.publish_event(event)
        except KafkaError as error:
            log.warning("the time of model %s for a row was not reported, retrying: %s", guarded.digest[:12], error)
        else:
            self._reported[guarded.digest] = report


def _is_due(report: Reported, before: Reported | None) -> bool:
    if before is None or before.revision != report.revision:
        return True
    return report.is_over != before.is_over and report.at_ms >= before.at_ms + _PAUSE_MS
