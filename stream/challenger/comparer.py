"""The worker's side of the shadow: a bounded queue, the challenger's process behind it, comparisons on their topic.

Nothing of the live path waits for anything here, and no fault of what is here reaches it: what cannot be compared is
counted. What a challenger's process does is `shadow.server`'s; when it is started anew, `shadow.process`'s.
"""

import asyncio
import contextlib
import logging
import os
import sys
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from models.problems import Problem, ProblemCode
from shadow.errors import ChallengerProcessError
from shadow.process import Backoff, ChallengerProcess, QueueSlots
from shadow.protocol import Setup
from stream.challenger.misses import MissLog
from stream.challenger.queue import (
    DecisionColumns,
    QueuedDecisions,
    by_destination,
    compare_request,
    emit_compared,
    take_portion,
)
from stream.clock import now_ms
from stream.control.announcements import CandidateAnswers, ProbeOutcome
from stream.control.follower import Follower
from stream.control.model_cache import LoadFailure, ServingModels, WarmupProblems, no_warmup_problems
from stream.errors import PublishError
from stream.kafka.publisher import Destination, Outgoing, Publisher
from stream.kafka.topics import SHADOW_SCORES
from stream.scoring.encode import Scored
from stream.scoring.facts import FactListener
from stream.scoring.tracing import BatchTrace
from stream.settings import PREFIX, Settings

log = logging.getLogger("fraudstream.shadow")

_PORTION = 256
_LOOK_SECONDS = 0.25
_RETRY_LOADS_MS = 5_000
_RETRY_ANSWERS_MS = 1_000
_PUBLISH_SECONDS = 10.0
_PUBLISH_PAUSE_SECONDS = 0.5
_DRAIN_SECONDS = 2.0
_LAST_WORD_SECONDS = 1.0


def child_command() -> tuple[str, ...]:
    """Return the product's own challenger process: this interpreter, and nothing found in the working directory."""
    return (sys.executable, "-P", "-m", "stream.challenger.process")


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the challenger's variables: where modules are, one thread for each library, and none of our settings.

    So it holds no password of Kafka's, Redis's or a collector's; what it must know is in its `Setup`.
    """
    kept = {name: value for name, value in environment.items() if not name.startswith((PREFIX, "OTEL_"))}
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**kept, **single, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


class Comparer:
    """Takes decisions that are written, has the challenger score them, and writes the comparisons.

    Args:
        settings: those of the worker.
        follower: says who is in the shadow, and which candidates are to be tried there.
        emit: takes the facts about what was compared and what was missed.
        command: the challenger's process; another than the product's where a test or a bench wants to see it fail.
        lacking: asked of candidates that are loaded.
    """

    def __init__(
        self,
        settings: Settings,
        follower: Follower,
        emit: FactListener,
        command: Sequence[str] | None = None,
        lacking: WarmupProblems = no_warmup_problems,
    ) -> None:
        self._lacking = lacking
        self._settings = settings
        self._follower = follower
        self._emit = emit
        self._publisher = Publisher(settings)
        self._answers = CandidateAnswers(follower, self._publisher, settings.worker_id)
        self._accounts = MissLog(follower, self._publisher, settings.worker_id, emit)
        setup = Setup(settings.models, settings.features, settings.shadow_memory_mb)
        self._lane = ChallengerProcess(command or child_command(), setup, child_environment(os.environ))
        self._room = QueueSlots(settings.shadow_queue)
        self._lots: deque[QueuedDecisions] = deque()
        self._failures: dict[str, LoadFailure] = {}
        self._rest = Backoff()
        self._resume_at = 0.0
        self._woken = asyncio.Event()
        self._idle = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def queued(self) -> int:
        """How many decisions wait for the challenger, those in its hands included."""
        return self._room.held

    def offer(self, scored: Scored, serving: ServingModels, journey: BatchTrace) -> None:
        """Take decisions for the challenger, or count them as skipped; returns at once and does not raise."""
        digest, taken = serving.challenger, 0
        if digest is None or not len(scored):
            return
        held = self._lane.loaded.get(digest)
        if held is not None and held.fingerprint in scored.vectors and not self._stopping:
            self._room, taken = self._room.admit(len(scored))
        if held is not None and taken:
            self._lots.append(
                QueuedDecisions(digest, DecisionColumns.of(scored, held.fingerprint, taken), journey, 0, taken)
            )
            self._idle.clear()
            self._woken.set()
        self._accounts.missed(digest, "skipped", len(scored) - taken)

    def start(self) -> None:
        """Begin, once the control log is followed."""
        self._work = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Finish what waits, as far as that is done in a moment, say what was missed, and end the process."""
        self._stopping = True
        if self._work is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                await self._idle.wait()
        self._work.cancel()
        await asyncio.wait((self._work,), timeout=_LAST_WORD_SECONDS)  # not `gather`: that waits for one that lingers
        self._give_up("the worker was stopped", lambda _: True)
        await self._lane.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORD_SECONDS):
                await self._accounts.look((), now_ms())
                await self._publisher.stop()

    # --- the work, one thing at a time

    async def _run(self) -> None:
        while True:
            try:
                await self._turn()
            except ChallengerProcessError as error:
                await self._pause(str(error))
            except Exception:  # whatever is wrong here, decisions go on
                log.exception("comparing failed in a way that nothing foresaw; decisions go on")
                await self._lane.close()
                await self._pause("a fault of ours")

    async def _pause(self, why: str) -> None:
        """Do nothing for a moment, and start no challenger for a while."""
        self._rest = self._rest.after_fault()
        self._resume_at = asyncio.get_running_loop().time() + self._rest.seconds
        log.warning("%s; another is started in %g s", why, self._rest.seconds)
        await asyncio.sleep(_LOOK_SECONDS)

    async def _turn(self) -> None:
        """Have loaded what is wanted, then compare what waits, or wait."""
        await self._lane.check()
        now = now_ms()
        candidates = self._answers.unanswered(self._follower.candidates.model_by_command(shadow=True))
        challenger = self._follower.lineup.challenger_at(now)
        await self._accounts.look(self._held(), now)
        for command_id, digest in candidates.items():
            await self._answer(command_id, digest)
        if challenger and asyncio.get_running_loop().time() >= self._resume_at:
            await self._ensure(challenger, now - _RETRY_LOADS_MS)
        await self._tidy()
        self._give_up("the challenger is not loaded", lambda lot: lot.digest not in self._lane.loaded)
        if self._lots:
            await self._compare(take_portion(self._lots, _PORTION))
        else:
            await self._wait()

    def _held(self) -> set[str]:
        """Return the challengers that are needed at this moment: the lineup and the queue may change at every await."""
        challenger = self._follower.lineup.challenger_at(now_ms())
        return {lot.digest for lot in self._lots} | ({challenger} if challenger else set())

    async def _tidy(self) -> None:
        """Let go of models that nobody needs any more, and of the process with the last of them."""
        kept = self._held() | set(self._follower.candidates.model_by_command(shadow=True).values())
        self._failures = {digest: failure for digest, failure in self._failures.items() if digest in kept}
        if kept:
            await self._lane.keep(kept)
        else:
            await self._lane.close()

    async def _wait(self) -> None:
        self._idle.set()
        self._woken.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await self._woken.wait()

    # --- models

    async def _answer(self, command_id: str, digest: str) -> None:
        """Try a candidate, and say what came of it, also where that was the end of the process.

        Not where the worker stops meanwhile: an answer may wait for Kafka, and nobody waits for that any more.
        """
        try:
            await self._ensure(digest, now_ms() - _RETRY_ANSWERS_MS)
        except Exception:
            await self._answers.answer(command_id, digest, self._found(digest))
            raise
        await self._answers.answer(command_id, digest, self._found(digest))

    def _found(self, digest: str) -> ProbeOutcome:
        held = self._lane.loaded.get(digest)
        if held is None:
            return self._failures[digest].problems
        return self._lacking(held.fingerprint) or held.probe_hash

    async def _ensure(self, digest: str, retry: int) -> None:
        """Load a model that is not loaded, unless that failed after the moment `retry`."""
        failure = self._failures.get(digest)
        if digest in self._lane.loaded or (failure is not None and failure.tried_ms > retry):
            return
        try:
            problems = (await self._lane.load(digest)).problems
        except Exception as error:
            why = (
                str(error)
                if isinstance(error, ChallengerProcessError)
                else f"a fault of the worker: {type(error).__name__}"
            )
            self._failures[digest] = LoadFailure((Problem(ProblemCode.SHADOW_FAILED, why),), now_ms())
            raise
        if digest in self._lane.loaded:
            self._failures.pop(digest, None)
            log.info("the challenger's process loaded %s", digest[:12])
        else:
            self._failures[digest] = LoadFailure(problems, now_ms())
            log.error("challenger %s cannot be loaded: %s", digest[:12], "; ".join(one.detail for one in problems))

    # --- decisions

    def _give_up(self, why: str, hopeless: Callable[[QueuedDecisions], bool]) -> None:
        """Count what waits in vain as failed."""
        lost = [lot for lot in self._lots if hopeless(lot)]
        if lost:
            self._lots = deque(lot for lot in self._lots if not hopeless(lot))
        for lot in lost:
            self._room = self._room.release(len(lot))
            self._accounts.missed(lot.digest, "failed", len(lot), why)

    async def _compare(self, lots: Sequence[QueuedDecisions]) -> None:
        """Have decisions compared and written; those that are not in the end are counted as failed."""
        digest, count, why = lots[0].digest, sum(map(len, lots)), "the worker was stopped"
        left = count
        try:
            reply = await self._lane.compare(compare_request(lots), self._settings.shadow_timeout)
            self._rest = Backoff()
            why = reply.why or "comparisons could not be written"
            if await self._publish(by_destination(self._settings.topic(SHADOW_SCORES.name), lots, reply)):
                left = sum(record is None for record in reply.records)
                emit_compared(lots, reply, self._emit)
        except ChallengerProcessError as error:
            why = str(error)
            raise
        finally:
            self._room = self._room.release(count)
            self._accounts.compared(digest, count - left)
            self._accounts.missed(digest, "failed", left, why)

    async def _publish(self, outgoing: Mapping[Destination, Sequence[Outgoing]]) -> bool:
        """Write comparisons, trying for a while; tell whether they are known to be written."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PUBLISH_SECONDS):
                while True:
                    try:
                        await self._publisher.publish(outgoing)
                    except PublishError as error:
                        log.warning("comparisons are not written, trying again: %s", error)
                        await asyncio.sleep(_PUBLISH_PAUSE_SECONDS)
                    else:
                        return True
        return False
