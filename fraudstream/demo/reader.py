"""Reads decisions, comparisons, outcomes, dead letters, commands and events, as any consumer would.

With a second fleet it reads that one's silent decisions, too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from aiokafka import TopicPartition

from fraudstream.demo.commands import CommandLog
from fraudstream.demo.comparisons import RevisionComparisons
from fraudstream.demo.scoreboard import Scoreboard
from fraudstream_client.validity import ValidScores
from models.command_decoder import read_command
from models.commands import Command, Event, read_event
from shadow.comparison import Comparison, read_comparison
from stream.clock import now_ms
from stream.kafka.client import connection_options
from stream.kafka.stray import PlainConsumer
from stream.kafka.topics import DEAD_LETTERS, MODEL_CONTROL, MODEL_EVENTS, OUTCOMES, SCORES, SHADOW_SCORES
from stream.settings import Settings

FETCH_WAIT_MS = 10
Records = list[Any]


class _OfDeployment(msgspec.Struct):
    """The field of an outcome that is read here."""

    deployment: str = ""


class _ScoreEpoch(msgspec.Struct):
    """The field of a void score that is read here."""

    epoch: int


_of_deployment = msgspec.json.Decoder(_OfDeployment).decode


class Reader:
    """Reads each partition in order from its beginning; `silent_topic` has the decisions of a second fleet, if any."""

    def __init__(self, settings: Settings, partitions: int, board: Scoreboard, silent_topic: str | None = None) -> None:
        self.valid: ValidScores[Any] = ValidScores()
        self.unreadable = 0
        """Comparisons that cannot be parsed; `valid` counts such scores."""
        self.comparisons = RevisionComparisons(board.truths)
        self.commands = CommandLog()
        """Those of the settings' deployment."""
        self.events: list[Event] = []
        """Those of all deployments."""
        self.silent = 0
        """How many payments the second fleet has decided silently."""
        self._valid_silent: ValidScores[Any] = ValidScores()
        self._settings = settings
        self.board = board
        partitioned: dict[str, Callable[[Records], None]] = {
            SCORES.name: self._scores,
            SHADOW_SCORES.name: self._comparisons,
            OUTCOMES.name: self._outcomes,
            **({} if silent_topic is None else {silent_topic: self._silent_scores}),
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
        consumer = PlainConsumer(
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
        for record in records:
            void = self.valid.void
            for _, score in self.valid.of([record]):
                self.board.decide(score, seen_ms)
            if self.valid.void > void:
                epoch = msgspec.json.decode(record.value, type=_ScoreEpoch).epoch
                self.board.pass_over(epoch, self.valid.standings[record.partition].highest_epoch)

    def _silent_scores(self, records: Records) -> None:
        self.silent += sum(self.board.is_live(score.transaction_id) for _, score in self._valid_silent.of(records))

    def _comparisons(self, records: Records) -> None:
        comparisons: list[Comparison] = []
        for record in records:
            try:
                comparisons.append(read_comparison(record.value or b""))
            except (msgspec.DecodeError, UnicodeDecodeError):
                self.unreadable += 1
        self.comparisons.compare(comparisons)

    def _outcomes(self, records: Records) -> None:
        """Count the outcomes of the first fleet: each deployment writes its own."""
        own = self._settings.deployment
        self.board.outcomes += sum(_of_deployment(record.value).deployment == own for record in records)

    def _dead_letters(self, records: Records) -> None:
        for record in records:
            self.board.dead_letter(dict(record.headers).get("error.code", b"?").decode())

    def _commands(self, records: Records) -> None:
        for record in records:
            command = read_command(record.value or b"")
            if isinstance(command, Command) and command.deployment == self._settings.deployment:
                self.commands.command(command)

    def _events(self, records: Records) -> None:
        for record in records:
            event = read_event(record.value or b"")
            if isinstance(event, Event):
                self.events.append(event)
                if event.deployment == self._settings.deployment:
                    self.commands.event(event)
