"""What a worker's gauges show: where it stands now, read from its parts.

Nothing here is counted, and only the lag is asked for: brokers know the end of a log, not the worker.
"""

import asyncio
import logging
from collections.abc import Callable, ItemsView, Iterator, Mapping
from dataclasses import dataclass

from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from features.history.store import Entity
from features.redis.cache import CacheStats
from stream.control.model_cache import ModelCache
from stream.kafka.transport import BatchConsumer
from stream.telemetry.metrics import Gauges, Values

log = logging.getLogger("fraudstream.watching")

_ASK_SECONDS = 2.0
_ANSWER_SECONDS = 5.0
_SHOWN_DIGITS = 12


class Lag:
    """How many records of each own partition are not done with, as the brokers said last."""

    def __init__(self, consumer: Callable[[], BatchConsumer | None]) -> None:
        self._consumer = consumer
        self._lags: Mapping[TopicPartition, int] = {}

    def start(self) -> "asyncio.Task[None]":
        """Ask from now on; a fault in it costs the gauge and a line of the log, not the worker."""
        task = asyncio.create_task(self._run())
        task.add_done_callback(_complain)
        return task

    async def _run(self) -> None:
        """Ask for ever; what a broker that is away said last stands until it is back."""
        while True:
            await asyncio.sleep(_ASK_SECONDS)
            consumer = self._consumer()
            try:
                async with asyncio.timeout(_ANSWER_SECONDS):
                    self._lags = {} if consumer is None else await consumer.backlog()
            except (KafkaError, TimeoutError) as error:
                log.info("how much waits is not known, asking again: %r", error)

    def shown(self) -> dict[Values, float]:
        """Return it by topic and partition."""
        return {(tp.topic, str(tp.partition)): lag for tp, lag in self._lags.items()}


@dataclass(frozen=True, slots=True)
class GaugeSources:
    """The parts of a worker that are looked at; each function must be quick, and may be called by another thread."""

    topics: tuple[str, ...]
    consumer: Callable[[], BatchConsumer | None]
    shelf: ModelCache
    lag: Lag
    reasons: Callable[[], list[str]]
    incomplete: Callable[[], bool]
    open_parts: Callable[[], int]
    revision: Callable[[], int]
    queued: Callable[[], int]
    remembered: Callable[[], Mapping[Entity, CacheStats]]

    def gauges(self) -> Gauges:
        """Say what each gauge of the catalogue shows."""
        return {
            "fraudstream.cache.evictions": lambda: {(kind.value,): use.evictions for kind, use in self._uses()},
            "fraudstream.cache.lookups": lambda: {
                (kind.value, result): count
                for kind, use in self._uses()
                for result, count in (("hit", use.hits), ("miss", use.misses))
            },
            "fraudstream.cache.size": lambda: {(kind.value,): use.held_bytes for kind, use in self._uses()},
            "fraudstream.halted": lambda: _one(consumer.halted if (consumer := self.consumer()) else 0),
            "fraudstream.history.incomplete": lambda: _one(self.incomplete()),
            "fraudstream.history.open_parts": lambda: _one(self.open_parts()),
            "fraudstream.lag": self.lag.shown,
            "fraudstream.model.info": lambda: dict.fromkeys(self._models(), 1),
            "fraudstream.partitions": self._partitions,
            "fraudstream.ready": lambda: _one(not self.reasons()),
            "fraudstream.revision": lambda: _one(self.revision()),
            "fraudstream.shadow.queued": lambda: _one(self.queued()),
        }

    def _uses(self) -> ItemsView[Entity, CacheStats]:
        return self.remembered().items()

    def _partitions(self) -> dict[Values, float]:
        consumer = self.consumer()
        owned = {} if consumer is None else consumer.owned
        return {(topic,): owned.get(topic, 0) for topic in self.topics}

    def _models(self) -> Iterator[Values]:
        """Name the models that decide here, by role; of the challenger only the digest is known to the live path."""
        serving = self.shelf.serving()
        if serving is None:
            return
        for role, model in (("live", serving.live), ("before", serving.fallback)):
            if model is not None:
                yield role, model.digest[:_SHOWN_DIGITS], model.name, model.version
        if serving.challenger is not None:
            yield "challenger", serving.challenger[:_SHOWN_DIGITS], "", ""


def _complain(task: "asyncio.Task[None]") -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("how much waits is no longer asked for", exc_info=task.exception())


def _one(value: float) -> dict[Values, float]:
    return {(): value}
