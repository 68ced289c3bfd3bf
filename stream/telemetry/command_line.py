"""Traces of the command line: of commands to the fleet, and of records that are published.

The SDK is imported only if traces are configured, so that commands start fast.
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from models.commands import Event
from stream.control.client import CommandRequest, Tell, send_command
from stream.engine.tracing import NoOperationTracing, OperationTracing
from stream.settings import Settings
from stream.telemetry.environment import read


@asynccontextmanager
async def steps_outside(settings: Settings, service: str) -> AsyncIterator[OperationTracing]:
    """Trace the steps of a command as `service`, and send the spans before it ends.

    Raises:
        SettingsError: a variable of OpenTelemetry cannot be used.
    """
    options = read(os.environ)
    if not options.traces:
        yield NoOperationTracing()
        return
    from stream.telemetry.setup import begin_steps  # noqa: PLC0415 - the SDK takes half a second to import

    telemetry = begin_steps(settings, options, service)
    try:
        yield telemetry.operations
    finally:
        await asyncio.to_thread(telemetry.stop)


async def command_traced(
    settings: Settings, request: CommandRequest, tell: Tell | None = None
) -> tuple[str, Event | None]:
    """Send one command to the fleet as `send_command` does, traced if traces are on.

    Raises:
        aiokafka.errors.KafkaError: the broker does not answer.
        SettingsError: a variable of OpenTelemetry cannot be used.
        UnsentCommandError: workers that run do not know the excluded cards as they are named; nothing was sent.
    """
    async with steps_outside(settings, "fraudstream-model") as operations:
        return await send_command(settings, request, operations, tell)
