"""The contenders by name: how each is started, and what is unfair about it."""

import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

OURS = "fraudstream"
LIMITS = ("aiokafka-copy", "copy")
"""Contenders that decide nothing: how soon a client moves a record, and for how much."""
ON_EVERY_LINE = (OURS, *LIMITS)
"""Contenders that are the same whatever a line holds equal."""


class Contender(NamedTuple):
    """One contender.

    Attributes:
        title: as tables name it.
        words: the module and its arguments; empty for our own worker.
        remark: what is unfair, in its favour or against it.
    """

    title: str
    words: tuple[str, ...]
    remark: str

    @property
    def command(self) -> tuple[str, ...]:
        """The command that starts it."""
        module, *arguments = self.words
        return (sys.executable, "-P", "-m", f"benchmarks.contenders.{module}", *arguments)


CONTENDERS: Mapping[str, Contender] = MappingProxyType(
    {
        OURS: Contender(
            "fraudstream",
            (),
            "It also validates, decides each payment once, and writes all features and its reasons into scores.",
        ),
        "confluent-poll": Contender(
            "confluent-kafka, a poll at a time",
            ("by_confluent", "poll"),
            "One pipeline and one prediction for all that has come; librdkafka has threads of its own.",
        ),
        "confluent-event": Contender(
            "confluent-kafka, an event at a time",
            ("by_confluent", "event"),
            "As its documentation begins.",
        ),
        "aiokafka-poll": Contender(
            "aiokafka, a poll at a time",
            ("by_aiokafka", "poll"),
            "One pipeline and one prediction for each poll.",
        ),
        "aiokafka-event": Contender(
            "aiokafka, an event at a time",
            ("by_aiokafka", "event"),
            "As its documentation begins.",
        ),
        "quix": Contender(
            "Quix Streams",
            ("by_quix",),
            "It has no batches before its sinks; offsets are committed every 5 s.",
        ),
        "faststream": Contender(
            "FastStream on aiokafka",
            ("by_faststream", "aiokafka"),
            "A batch subscriber, which acknowledges each batch.",
        ),
        "faststream-confluent": Contender(
            "FastStream on confluent-kafka",
            ("by_faststream", "confluent"),
            "Likewise; it polls on a thread.",
        ),
        "faust": Contender(
            "Faust",
            ("by_faust", "worker", "--without-web", "--loglevel=warn"),
            "An event at a time, with its own commits.",
        ),
        "aiokafka-copy": Contender(
            "aiokafka copying records",
            ("by_aiokafka", "copy"),
            "No work at all: what the client costs that our worker is built on.",
        ),
        "copy": Contender(
            "librdkafka copying records",
            ("by_confluent", "copy"),
            "No work at all: how soon a record can arrive.",
        ),
    }
)
