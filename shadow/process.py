"""The challenger's process, as its worker sees it.

`QueueSlots` limits how many decisions wait, `Backoff` delays the restart after a fault; both are values.
`ChallengerProcess` starts the process, sends it one request at a time, and ends it at the first fault.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

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
    framed,
    payload_length,
)

_LOAD_SECONDS = 60.0
_EXIT_SECONDS = 0.5
_FIRST_BACKOFF_SECONDS = 1.0
_LONGEST_BACKOFF_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class QueueSlots:
    """The number of decisions that may be queued or in progress for the challenger, and how many are."""

    limit: int
    used: int = 0

    def admit(self, count: int) -> tuple["QueueSlots", int]:
        """Take slots for up to `count` decisions; return the new state and how many were admitted."""
        admitted = min(count, self.limit - self.used)
        return replace(self, used=self.used + admitted), admitted

    def release(self, count: int) -> "QueueSlots":
        """Free `count` slots."""
        return replace(self, used=self.used - count)


@dataclass(frozen=True, slots=True)
class Backoff:
    """The delay before the next start after a fault: 1 s, doubled each time, at most 60 s."""

    seconds: float = 0.0

    def after_fault(self) -> "Backoff":
        """Return the next, longer delay."""
        return Backoff(min(max(2 * self.seconds, _FIRST_BACKOFF_SECONDS), _LONGEST_BACKOFF_SECONDS))


class HeldModel(NamedTuple):
    """A model that the process has loaded: its probe hash, and the fingerprint of its features."""

    probe_hash: str
    fingerprint: str


class ChallengerProcess:
    """The child process that runs challengers; it is started when a model is loaded.

    Args:
        command: the program and its arguments; it speaks `shadow.protocol` on standard input and output.
        setup: the first message sent to it.
        environment: its complete environment.
    """

    def __init__(self, command: Sequence[str], setup: Setup, environment: Mapping[str, str]) -> None:
        self.loaded: dict[str, HeldModel] = {}
        """The models that the process has loaded, by digest."""
        self._command = tuple(command)
        self._setup = setup
        self._environment = dict(environment)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:
        """The process id; None while no process runs."""
        return None if self._process is None else self._process.pid

    async def check(self) -> None:
        """Detect that the process ended while idle.

        Raises:
            ChallengerProcessError: it has ended.
        """
        code = None if self._process is None else self._process.returncode
        if code is not None:
            raise await self._fault(f"it ended with exit code {code}")

    async def load(self, digest: str) -> Loaded:
        """Load and probe a model in the process; start the process first if none runs.

        Raises:
            ChallengerProcessError: the process could not be started, ended, or timed out.
        """
        if self._process is None:
            await self._start()
        reply = await self._request(Load(digest), _LOAD_SECONDS)
        if not isinstance(reply, Loaded):
            raise await self._fault(f"it replied {type(reply).__name__} to Load")
        if reply.probe_hash is not None:
            self.loaded[digest] = HeldModel(reply.probe_hash, reply.fingerprint)
        return reply

    async def compare(self, request: Compare, seconds: float) -> CompareResult:
        """Have decisions compared by a loaded model.

        Raises:
            ChallengerProcessError: the process ended, or did not answer within `seconds`.
        """
        reply = await self._request(request, seconds)
        count = len(request.scores)
        if not isinstance(reply, CompareResult) or {len(reply.records), len(reply.scores), len(reply.decisions)} != {
            count
        }:
            raise await self._fault(f"it did not reply to each of {count} decisions")
        return reply

    async def keep_only(self, digests: Iterable[str]) -> None:
        """Unload all other models.

        Raises:
            ChallengerProcessError: the process ended, or does not read its input.
        """
        kept = frozenset(digests)
        if self._process is None or self.loaded.keys() <= kept:
            return
        self.loaded = {digest: held for digest, held in self.loaded.items() if digest in kept}
        try:
            async with asyncio.timeout(_LOAD_SECONDS):
                await self._send(KeepOnly(tuple(self.loaded)))
        except TimeoutError as error:
            raise await self._fault("it does not read its input") from error
        except OSError as error:
            raise await self._fault(await self._describe_exit()) from error

    async def close(self) -> None:
        """Close the process's input so that it exits, and kill it if it does not."""
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()
        await self._exit_code()
        await self._kill()

    async def _start(self) -> None:
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=self._environment,
                start_new_session=True,  # Ctrl-C in the terminal reaches the worker alone, which stops this in order
            )
            await self._send(self._setup)
        except OSError as error:
            raise await self._fault(f"it could not be started: {error}") from error

    async def _request(self, request: Request, seconds: float) -> Reply:
        try:
            async with asyncio.timeout(seconds):
                await self._send(request)
                return decode_reply(await self._receive())
        except TimeoutError as error:
            raise await self._fault(f"it did not answer within {seconds:g} s") from error
        except (OSError, asyncio.IncompleteReadError) as error:
            raise await self._fault(await self._describe_exit()) from error
        except FrameError as error:
            raise await self._fault(str(error)) from error

    async def _send(self, message: Request) -> None:
        process = self._process
        if process is None or process.stdin is None:
            raise BrokenPipeError("no process runs")
        process.stdin.write(framed(message))
        await process.stdin.drain()

    async def _receive(self) -> bytes:
        process = self._process
        if process is None or process.stdout is None:
            raise BrokenPipeError("no process runs")
        return await process.stdout.readexactly(payload_length(await process.stdout.readexactly(HEADER_BYTES)))

    async def _fault(self, what: str) -> ChallengerProcessError:
        """Kill the process, and return the error to raise."""
        await self._kill()
        return ChallengerProcessError(f"the challenger's process: {what}")

    async def _describe_exit(self) -> str:
        """Describe how a process ended that closed a pipe; the exit code is negative for a signal.

        Its input stays open until the code is known: at the end of its input the process exits with 0.
        """
        code = await self._exit_code()
        return "it closed a pipe, but still runs" if code is None else f"it ended with exit code {code}"

    async def _exit_code(self) -> int | None:
        """Wait briefly for the process to end; None if it still runs or was never started."""
        process = self._process
        if process is None:
            return None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_EXIT_SECONDS):
                await process.wait()
        return process.returncode

    async def _kill(self) -> None:
        """Kill the process and reap it."""
        process, self._process, self.loaded = self._process, None, {}
        if process is None:
            return
        if process.stdin is not None:
            process.stdin.close()
        with contextlib.suppress(ProcessLookupError, TimeoutError):
            process.kill()
            async with asyncio.timeout(_EXIT_SECONDS):
                await process.wait()
