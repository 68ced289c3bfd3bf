"""Reads decisions, comparisons, outcomes, dead letters, commands and events, as any consumer would."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from models.commands import Command, Event, read_command, read_event
from shadow.comparison import Comparison, read_comparison
from stream.clock import now_ms
from stream.consumer import ValidScores
from stream.demo.commands import CommandLog
from stream.demo.comparisons import RevisionComparisons
from stream.demo.scoreboard import Scoreboard
from stream.kafka.client import connection_options
from stream.kafka.topics import DEAD_LETTERS, MODEL_CONTROL, MODEL_EVENTS, OUTCOMES, SCORES, SHADOW_SCORES
from stream.settings import Settings

FETCH_WAIT_MS = 10
Records = list[Any]


class Reader:
    """Reads each partition in order from its beginning."""

    def __init__(self, settings: Settings, partitions: int, board: Scoreboard) -> None:
        self.valid: ValidScores[Any] = ValidScores()
        self.unreadable = 0
        """Comparisons that cannot be parsed; `valid` counts such scores."""
        self.comparisons = RevisionComparisons(board.truths)
        self.commands = CommandLog()
        self._settings = settings
        self.board = board
        partitioned: dict[str, Callable[[Records], None]] = {
            SCORES.name: self._scores,
            SHADOW_SCORES.name: self._comparisons,
            OUTCOMES.name: self._outcomes,
        }
        single: dict[str, Callable[[Records], None]] = {
            DEAD_LETTERS.name: self._dead_letters,
            MODEL_CONTROL.name: self._commands,
            MODEL_EVENTS.name: self._events,
        }
        self._handlers = {settings.topic(name): handle for name, handle in (partitioned | single).items()}
        self._assigned = [
            *(TopicPartition(settings.topic(name), number) for name in partitioned for number in range(partitions)),
            *(TopicPartition(settings.topic(name), 0) for name in single),
        ]

    async def run(self) -> None:
        """Read until cancelled."""
        consumer = AIOKafkaConsumer(
            **connection_options(self._settings),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=FETCH_WAIT_MS,
        )
        try:
            await consumer.start()
            consumer.assign(self._assigned)
            await consumer.seek_to_beginning(*self._assigned)
            while True:
                for tp, records in (await consumer.getmany(timeout_ms=100)).items():
                    self._handlers[tp.topic](records)
        finally:
            await consumer.stop()

    def _scores(self, records: Records) -> None:
        seen_ms = now_ms()
        for _, score in self.valid.of(records):
            self.board.decide(score, seen_ms)

    def _comparisons(self, records: Records) -> None:
        comparisons: list[Comparison] = []
        for record in records:
            try:
                comparisons.append(read_comparison(record.value or b""))
            except (msgspec.DecodeError, UnicodeDecodeError):
                self.unreadable += 1
        self.comparisons.compare(comparisons)

    def _outcomes(self, records: Records) -> None:
        self.board.outcomes += len(records)

    def _dead_letters(self, records: Records) -> None:
        for record in records:
            self.board.dead_letter(dict(record.headers).get("error.code", b"?").decode())

    def _commands(self, records: Records) -> None:
        for record in records:
            command = read_command(record.value or b"")
            if isinstance(command, Command):
                self.commands.command(command)

    def _events(self, records: Records) -> None:
        for record in records:
            event = read_event(record.value or b"")
            if isinstance(event, Event):
                self.commands.event(event)
