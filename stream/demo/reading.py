"""Reads what the worker writes, from outside, and tells the scoreboard: scores, outcomes, dead letters."""

from __future__ import annotations

from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from stream.clock import now_ms
from stream.consumer import ValidScores
from stream.demo.scoreboard import Scoreboard
from stream.kafka import connection_options
from stream.settings import Settings
from stream.topics import DEAD_LETTERS, OUTCOMES, SCORES

FETCH_WAIT_MS = 10


class Reader:
    """Reads each partition in order from its beginning."""

    def __init__(self, settings: Settings, partitions: int, board: Scoreboard) -> None:
        self.valid: ValidScores[Any] = ValidScores()
        self._settings = settings
        self._board = board
        self._scores, self._outcomes, self._dead = map(settings.topic, (SCORES.name, OUTCOMES.name, DEAD_LETTERS.name))
        spread = [TopicPartition(topic, n) for topic in (self._scores, self._outcomes) for n in range(partitions)]
        self._assigned = [*spread, TopicPartition(self._dead, 0)]

    async def run(self) -> None:
        """Read until cancelled."""
        consumer = AIOKafkaConsumer(
            **connection_options(self._settings),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=FETCH_WAIT_MS,
        )
        await consumer.start()
        try:
            consumer.assign(self._assigned)
            await consumer.seek_to_beginning(*self._assigned)
            while True:
                for tp, records in (await consumer.getmany(timeout_ms=100)).items():
                    self._take(tp.topic, records, now_ms())
        finally:
            await consumer.stop()

    def _take(self, topic: str, records: list[Any], seen_ms: int) -> None:
        if topic == self._scores:
            for _, score in self.valid.of(records):
                self._board.decide(score, seen_ms)
        elif topic == self._outcomes:
            self._board.outcomes += len(records)
        else:
            for record in records:
                self._board.dead_letter(dict(record.headers).get("error.code", b"?").decode())
