"""The challenger's lane: how much may wait, how long it rests after a fault, and the process at its end.

`QueueSlots` and `Backoff` are policy, as values; `ChallengerProcess` is the process: started, asked one thing at a time,
given up at the first fault. Nothing here knows what becomes of an answer.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import msgspec

from shadow.errors import ChallengerProcessError, FrameError
from shadow.protocol import (
    HEADER_BYTES,
    Compare,
    CompareResult,
    KeepOnly,
    Load,
    Loaded,
    Reply,
    Request,
    Setup,
    decode_reply,
    encode,
    frame,
    payload_length,
)

_LOAD_SECONDS = 60.0
_CLOSE_SECONDS = 0.5
_FIRST_REST_SECONDS = 1.0
_LONGEST_REST_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class QueueSlots:
    """How many decisions may wait for the challenger, those in its hands included, and how many do."""

    bound: int
    held: int = 0

    def admit(self, count: int) -> tuple["QueueSlots", int]:
        """Return the room after an offer, and how many of the offer it takes; the others do not fit."""
        taken = min(count, self.bound - self.held)
        return replace(self, held=self.held + taken), taken

    def release(self, count: int) -> "QueueSlots":
        """Return the room after so many left."""
        return replace(self, held=self.held - count)


@dataclass(frozen=True, slots=True)
class Backoff:
    """For how long nothing is started after a fault: a second, twice as long each time, a minute at most."""

    seconds: float = 0.0

    def after_fault(self) -> "Backoff":
        """Return the next, longer rest."""
        return Backoff(min(max(2 * self.seconds, _FIRST_REST_SECONDS), _LONGEST_REST_SECONDS))


class HeldModel(NamedTuple):
    """What is known of a model that the process holds: its probe hash, and the fingerprint of its features."""

    probe_hash: str
    fingerprint: str


class ChallengerProcess:
    """One process that runs challengers, or none.

    Args:
        command: the program and its arguments; it speaks `shadow.protocol` on its standard input and output.
        setup: the first thing that it is told.
        environment: all of its variables.
    """

    def __init__(self, command: Sequence[str], setup: Setup, environment: Mapping[str, str]) -> None:
        self.loaded: dict[str, HeldModel] = {}
        """The models that the process holds, by digest."""
        self._command = tuple(command)
        self._setup = setup
        self._environment = dict(environment)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The process's id; None where there is none."""
        return None if self._process is None else self._process.pid

    async def check(self) -> None:
        """Notice that the process ended by itself while nothing was asked of it.

        Raises:
            LaneError: it did.
        """
        code = None if self._process is None else self._process.returncode
        if code is not None:
            raise await self._fault(f"it ended with exit code {code}")

    async def load(self, digest: str) -> Loaded:
        """Have a model loaded and probed; starts the process where there is none.

        Raises:
            LaneError: the process could not be started, ended, or did not answer.
        """
        if self._process is None:
            await self._start()
        reply = await self._ask(Load(digest), _LOAD_SECONDS)
        if not isinstance(reply, Loaded):
            raise await self._fault(f"it answered {type(reply).__name__} to a model to load")
        if reply.probe_hash is not None:
            self.loaded[digest] = HeldModel(reply.probe_hash, reply.fingerprint)
        return reply

    async def compare(self, request: Compare, seconds: float) -> CompareResult:
        """Have decisions compared by a model that is loaded.

        Raises:
            LaneError: the process ended, or did not answer within `seconds`.
        """
        reply = await self._ask(request, seconds)
        wanted = len(request.scores)
        if not isinstance(reply, CompareResult) or {len(reply.records), len(reply.scores), len(reply.decisions)} != {
            wanted
        }:
            raise await self._fault(f"it gave no answer to each of {wanted} decisions")
        return reply

    async def keep(self, digests: Iterable[str]) -> None:
        """Have all other models let go of.

        Raises:
            LaneError: the process ended, or does not read.
        """
        kept = frozenset(digests)
        if self._process is None or self.loaded.keys() <= kept:
            return
        self.loaded = {digest: held for digest, held in self.loaded.items() if digest in kept}
        try:
            async with asyncio.timeout(_LOAD_SECONDS):
                await self._tell(KeepOnly(tuple(self.loaded)))
        except TimeoutError as error:
            raise await self._fault("it does not read") from error
        except OSError as error:
            raise await self._fault(await self._ending()) from error

    async def close(self) -> None:
        """Let the process end, and end it where it does not."""
        await self._let_end()
        await self._end()

    async def _start(self) -> None:
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=self._environment,
                start_new_session=True,  # a Ctrl-C in the terminal is the worker's to pass on, in order
            )
            await self._tell(self._setup)
        except OSError as error:
            raise await self._fault(f"it could not be started: {error}") from error

    async def _ask(self, request: Request, seconds: float) -> Reply:
        try:
            async with asyncio.timeout(seconds):
                await self._tell(request)
                return decode_reply(await self._read())
        except TimeoutError as error:
            raise await self._fault(f"it did not answer within {seconds:g} s") from error
        except (OSError, asyncio.IncompleteReadError) as error:
            raise await self._fault(await self._ending()) from error
        except (FrameError, msgspec.MsgspecError) as error:
            raise await self._fault(str(error)) from error

    async def _tell(self, message: Request) -> None:
        process = self._process
        if process is None or process.stdin is None:
            raise BrokenPipeError("there is no process")
        process.stdin.write(frame(encode(message)))
        await process.stdin.drain()

    async def _read(self) -> bytes:
        process = self._process
        if process is None or process.stdout is None:
            raise BrokenPipeError("there is no process")
        return await process.stdout.readexactly(payload_length(await process.stdout.readexactly(HEADER_BYTES)))

    async def _fault(self, what: str) -> ChallengerProcessError:
        """Give the process up, and return the error that says why."""
        await self._end()
        return ChallengerProcessError(f"the challenger's process: {what}")

    async def _ending(self) -> str:
        """Say how a process ended that closed a pipe, negative for a signal; its input stays open until that is known.

        At the end of its input a process ends in order, and its own code would be lost.
        """
        code = await self._exit_code()
        return "it closed a pipe, and goes on" if code is None else f"it ended with exit code {code}"

    async def _let_end(self) -> None:
        """Close the process's input, and wait a moment for its end."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        await self._exit_code()

    async def _exit_code(self) -> int | None:
        """Wait a moment for the process's end; None: it goes on, or was never there."""
        process = self._process
        if process is None:
            return None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await process.wait()
        return process.returncode

    async def _end(self) -> None:
        """End the process, by its own id, and collect it."""
        process, self._process, self.loaded = self._process, None, {}
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        with contextlib.suppress(ProcessLookupError, TimeoutError):
            process.kill()
            async with asyncio.timeout(_CLOSE_SECONDS):
                await process.wait()
