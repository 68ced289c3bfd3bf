"""Whether a guard runs: each is a member of the guards' consumer group, and whoever asks reads its members.

It is the group by which guards divide the sending of incidents, so that they need no further permission. A guard
without a webhook joins it and subscribes to nothing, so that it is never given the partition to send.
"""

import asyncio
import logging

from aiokafka.errors import KafkaError

from fraudstream.ops.rollout.guard.watched import Stretch
from models.commands import CommandKind, Event
from stream.kafka.client import connection_options, explain_error, members_of, open_admin
from stream.kafka.stray import PlainConsumer, given_up_as_error
from stream.settings import Settings
from stream.telemetry.metrics import Gauges

log = logging.getLogger("fraudstream.guard")

_GROUP_SUFFIX = "-incidents"
NO_GUARD = "no guard runs"
WITHOUT_A_GUARD = {
    Stretch.CANARY: "nothing ends this canary if it does harm",
    Stretch.SPLIT: "nothing ends this split if an arm does harm",
    Stretch.PROMOTION: "nothing rolls this promotion back if the new model does harm",
}
_BEGUN_BY = {
    CommandKind.CANARY: Stretch.CANARY,
    CommandKind.ROLLOUT: Stretch.CANARY,
    CommandKind.SPLIT: Stretch.SPLIT,
}
_NO_TOPIC = "^$"
_SESSION_MS = 10_000
_RETRY_SECONDS = 2.0
_LOOK_SECONDS = 60.0


def guards_group(settings: Settings) -> str:
    """Return the consumer group whose members are the guards of a deployment."""
    return f"{settings.group}{_GROUP_SUFFIX}"


def guard_consumer(settings: Settings) -> PlainConsumer:
    """Return a consumer that is a member of the guards' group, under the name of the guard's process."""
    return PlainConsumer(
        **connection_options(settings),
        client_id=settings.worker_id or "guard",
        group_id=guards_group(settings),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=_SESSION_MS,
    )


class GuardPresence:
    """Shows that a guard without a webhook runs, until it is cancelled.

    Attributes:
        trouble: why others cannot see it now, in words; None if they can.
    """

    def __init__(self, settings: Settings) -> None:
        self.trouble: str | None = None
        self._settings = settings

    def gauges(self) -> Gauges:
        """Return no metrics: `up` says that it runs to whoever reads them."""
        return {}

    async def run(self) -> None:
        """Be a member for ever; where Kafka does not answer, or refuses, try again."""
        while True:
            try:
                await self._join()
            except KafkaError as error:
                reason = await explain_error(self._settings, error)
                if reason != self.trouble:
                    log.warning("`fraudstream status` does not see this guard, retrying: %s", reason)
                self.trouble = reason
                await asyncio.sleep(_RETRY_SECONDS)

    async def close(self) -> None:
        """Do nothing: the membership ends with `run`."""

    async def _join(self) -> None:
        consumer = guard_consumer(self._settings)
        try:
            with given_up_as_error():
                await consumer.start()
            consumer.subscribe(pattern=_NO_TOPIC)
            while True:
                with given_up_as_error():
                    await consumer.getmany(timeout_ms=int(_LOOK_SECONDS * 1000))  # raises what ends a membership
                self.trouble = None
        finally:
            await consumer.stop()


async def missing_guard(settings: Settings, answer: Event) -> str | None:
    """Say that no guard runs to watch what an accepted command has begun; None if one does, or nothing is watched."""
    begun = None if answer.command is None else _BEGUN_BY.get(answer.command)
    stretch = Stretch.PROMOTION if answer.watch_until else begun
    if stretch is None or await running_guards(settings) != frozenset():
        return None
    return f"{NO_GUARD}: {WITHOUT_A_GUARD[stretch]}; `fraudstream guard` starts one"


async def running_guards(settings: Settings) -> frozenset[str] | None:
    """Return the names of the deployment's guards that run; None where that cannot be told.

    It cannot where the sender may not describe the guards' group, or its coordinator does not answer. A guard of a
    version before this one is a member only if it sends to a webhook.
    """
    try:
        async with open_admin(settings) as admin:
            return frozenset(one.name for one in await members_of(admin, guards_group(settings)))
    except (KafkaError, OSError):
        return None
