"""The gauges of a worker: they read the current state of its parts when they are collected.

Only the lag is queried beforehand, since only the brokers know the end of a log.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, ItemsView, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from features.history.store import Entity
from features.redis.cache import CacheStats
from fraudstream_client.arms import CANARY, WHOLE_BP
from models.times import day_of
from stream.clock import now_ms
from stream.code_version import code_version
from stream.control.follower import Follower
from stream.control.model_cache import LoadedModels
from stream.deciding_settings import deciding_settings
from stream.engine.stalled import HeldBack
from stream.engine.transport import BatchConsumer
from stream.kafka.stray import given_up_as_error
from stream.settings import Settings
from stream.tasks import log_on_error, until_tick
from stream.telemetry.metrics import Gauges, Values
from stream.worker.positions import DecisionPositions

log = logging.getLogger("fraudstream.gauges")

_QUERY_SECONDS = 2.0
_TIMEOUT_SECONDS = 5.0
_SHOWN_DIGITS = 12


class LetThroughGauges:
    """Amounts in minor units by currency, over the own partitions whose positions are known.

    Its methods are callable from any thread. Both are empty where nothing is let through, and in a silent deployment.
    """

    def __init__(self, positions: DecisionPositions, follower: Follower) -> None:
        self._positions = positions
        self._follower = follower

    def cap(self) -> Mapping[str, int]:
        """Return how much may be let through on a day."""
        return self._sums(is_left=False)

    def left(self) -> Mapping[str, int]:
        """Return how much of that is left today."""
        return self._sums(is_left=True)

    def _sums(self, *, is_left: bool) -> Mapping[str, int]:
        rule, positions = self._follower.lineup.let_through, self._positions
        if rule is None or not positions.role.publishes:
            return {}
        day, sums = day_of(now_ms()), Counter(dict.fromkeys(rule.caps, 0))
        for partition, position in tuple(positions.known().items()):
            if partition in positions.partitions:
                part = position.let_through.left(rule, partition, day) if is_left else rule.share_of(partition)
                sums.update(part)
        return sums


class Lag:
    """The number of records not yet processed, by own partition, as of the last query to the brokers."""

    def __init__(self, consumer: Callable[[], BatchConsumer | None]) -> None:
        self._consumer = consumer
        self._lags: Mapping[TopicPartition, int] = {}

    def start(self) -> "asyncio.Task[None]":
        """Start the queries; an unexpected error stops them and is logged, but does not end the worker."""
        task = asyncio.create_task(self._run())
        task.add_done_callback(partial(log_on_error, log, "the lag is no longer updated"))
        return task

    async def _run(self) -> None:
        """Query the lag regularly; the last value stays while the broker is unavailable."""
        while True:
            await until_tick(_QUERY_SECONDS)
            consumer = self._consumer()
            try:
                async with asyncio.timeout(_TIMEOUT_SECONDS):
                    with given_up_as_error():
                        self._lags = {} if consumer is None else await consumer.backlog()
            except (KafkaError, TimeoutError) as error:
                log.info("the lag cannot be read, retrying: %r", error)

    def shown(self) -> dict[Values, float]:
        """Return the lag by topic and partition."""
        return {(tp.topic, str(tp.partition)): lag for tp, lag in self._lags.items()}


@dataclass(frozen=True, slots=True)
class GaugeSources:
    """What the gauges read; each function must return quickly, and may be called from another thread."""

    settings: Settings
    topics: tuple[str, ...]
    consumer: Callable[[], BatchConsumer | None]
    models: LoadedModels
    lag: Lag
    reasons: Callable[[], list[str]]
    incomplete: Callable[[], bool]
    open_parts: Callable[[], int]
    damaged: Callable[[], int]
    waiting_labels: Callable[[], int]
    revision: Callable[[], int]
    term: Callable[[], int]
    publishes: Callable[[], bool]
    capped: Callable[[], Mapping[str, int]]
    let_through_cap: Callable[[], Mapping[str, int]]
    let_through_left: Callable[[], Mapping[str, int]]
    clock_is_behind: Callable[[], int]
    halted: Callable[[], int]
    queued: Callable[[], int]
    cache_stats: Callable[[], Mapping[Entity, CacheStats]]
    lost_events: Callable[[], int]
    unsaved_events: Callable[[], int]
    review_days: Callable[[], Mapping[Values, float]]
    deviating: Callable[[], Mapping[str, int]]
    missing_days: Callable[[], int]

    def gauges(self) -> Gauges:
        """Return the function that reads each gauge of the catalogue."""
        deciding = deciding_settings(self.settings)
        return {
            "fraudstream.aside": lambda: _one(len(consumer.aside) if (consumer := self.consumer()) else 0),
            "fraudstream.cache.evictions": lambda: {(kind.value,): use.evictions for kind, use in self._cache_stats()},
            "fraudstream.cache.lookups": lambda: {
                (kind.value, result): count
                for kind, use in self._cache_stats()
                for result, count in (("hit", use.hits), ("miss", use.misses))
            },
            "fraudstream.cache.size": lambda: {(kind.value,): use.held_bytes for kind, use in self._cache_stats()},
            "fraudstream.canary.share": lambda: _one(self._arm_shares().get(CANARY, 0.0)),
            "fraudstream.clock.behind": lambda: _one(self.clock_is_behind()),
            "fraudstream.control_log.lost": lambda: _one(self.lost_events()),
            "fraudstream.control_log.unsaved": lambda: _one(self.unsaved_events()),
            "fraudstream.decline_cap.active": lambda: {(arm,): count for arm, count in self.capped().items()},
            "fraudstream.halted": lambda: _one(self.halted()),
            "fraudstream.history.damaged": lambda: _one(self.damaged()),
            "fraudstream.history.incomplete": lambda: _one(self.incomplete()),
            "fraudstream.history.missing": lambda: _one(self.missing_days()),
            "fraudstream.history.open_parts": lambda: _one(self.open_parts()),
            "fraudstream.labels.waiting": lambda: _one(self.waiting_labels()),
            "fraudstream.lag": self.lag.shown,
            "fraudstream.let_through.cap": lambda: _by_currency(self.let_through_cap()),
            "fraudstream.let_through.left": lambda: _by_currency(self.let_through_left()),
            "fraudstream.model.info": lambda: dict.fromkeys(self._model_info(), 1),
            "fraudstream.model.review": lambda: dict(self.review_days()),
            "fraudstream.over_budget": self._over_budget,
            "fraudstream.partitions": self._partitions,
            "fraudstream.publishes": lambda: _one(self.publishes()),
            "fraudstream.ready": lambda: _one(not self.reasons()),
            "fraudstream.revision": lambda: _one(self.revision()),
            "fraudstream.setting.info": lambda: {_parts(line): 1 for line in deciding.lines},
            "fraudstream.shadow.queued": lambda: _one(self.queued()),
            "fraudstream.split.share": self._split_shares,
            "fraudstream.term": lambda: _one(self.term()),
            "fraudstream.topics.deviating": lambda: {(topic,): count for topic, count in self.deviating().items()},
            "fraudstream.uncommitted": lambda: {key: one.records for key, one in self._held_back()},
            "fraudstream.uncommitted.age": self._uncommitted_age,
            "fraudstream.worker.info": lambda: {(code_version(), deciding.hash): 1},
        }

    def _cache_stats(self) -> ItemsView[Entity, CacheStats]:
        return self.cache_stats().items()

    def _held_back(self) -> Iterator[tuple[Values, HeldBack]]:
        consumer = self.consumer()
        for tp, one in ({} if consumer is None else consumer.held_back()).items():
            yield (tp.topic, str(tp.partition)), one

    def _uncommitted_age(self) -> dict[Values, float]:
        now = time.monotonic()
        return {key: now - one.since for key, one in self._held_back()}

    def _over_budget(self) -> dict[Values, float]:
        consumer = self.consumer()
        excesses = {} if consumer is None else consumer.budgets.excesses()
        return {(tp.topic, str(tp.partition), one.card): 1 for tp, one in excesses.items()}

    def _partitions(self) -> dict[Values, float]:
        consumer = self.consumer()
        owned = {} if consumer is None else consumer.owned
        return {(topic,): owned.get(topic, 0) for topic in self.topics}

    def _arm_shares(self) -> dict[str, float]:
        """Return the share of the cards of each arm beside the live model."""
        serving = self.models.serving()
        arms = () if serving is None or serving.arms is None else serving.arms.split.arms
        return {arm.name: arm.share_bp / WHOLE_BP for arm in arms}

    def _split_shares(self) -> dict[Values, float]:
        return {(name,): share for name, share in self._arm_shares().items() if name != CANARY}

    def _model_info(self) -> Iterator[Values]:
        """Return role, digest, name and version of each model; of the challenger, the worker knows only the digest."""
        serving = self.models.serving()
        if serving is None:
            return
        arms = {} if serving.arms is None else serving.arms.models
        roles = [("live", serving.live), *((CANARY if name == CANARY else "arm", arms[name]) for name in arms)]
        for role, model in roles if serving.fallback is None else [*roles, ("before", serving.fallback)]:
            yield role, model.digest[:_SHOWN_DIGITS], model.name, model.version
        if serving.challenger is not None:
            yield "challenger", serving.challenger[:_SHOWN_DIGITS], "", ""


def _one(value: float) -> dict[Values, float]:
    return {(): value}


def _by_currency(amounts: Mapping[str, int]) -> dict[Values, float]:
    return {(currency,): amount for currency, amount in amounts.items()}


def _parts(line: str) -> Values:
    name, _, value = line.partition("=")
    return name, value
