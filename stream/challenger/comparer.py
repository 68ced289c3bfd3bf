"""Send decisions to the challenger's process through a bounded queue, and write the comparisons to their topic.

The live path never waits for this and never sees its faults: a decision that cannot be compared is counted.
`shadow.server` is the process's side, `shadow.process` starts and restarts it.
"""

import asyncio
import contextlib
import logging
import os
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from models.problems import Problem, ProblemCode
from shadow.errors import ChallengerProcessError
from shadow.process import Backoff, ChallengerProcess, QueueSlots
from shadow.protocol import Setup
from stream.challenger.misses import MissLog
from stream.challenger.queue import (
    ComparisonDue,
    DecisionColumns,
    QueuedDecisions,
    by_destination,
    compare_request,
    comparisons_due,
    emit_compared,
    take_portion,
)
from stream.clock import now_ms
from stream.control.announcements import AnswerNames, CandidateAnswers, ProbeOutcome, own_name_only
from stream.control.follower import Follower
from stream.control.model_cache import LoadFailures, ServingModels, WarmupProblems, no_warmup_problems
from stream.control.trial import python_command, python_environment
from stream.engine.publisher import Destination, Outgoing, Publisher
from stream.errors import PublishError
from stream.kafka.stray import given_up_as_error
from stream.kafka.topics import SHADOW_SCORES
from stream.scoring.encode import Scored
from stream.scoring.facts import FactListener
from stream.scoring.tracing import BatchTrace
from stream.settings import PREFIX, Settings
from stream.tasks import timeout_at_tick

log = logging.getLogger("fraudstream.shadow")

_LOG_FORMAT = f"{PREFIX}LOG_FORMAT"
_PORTION = 256
_POLL_SECONDS = 0.25
_GATHER_SECONDS = 0.2
"""How long decisions wait for others: a request and its records cost the worker as much as several decisions do."""
_RETRY_LOADS_MS = 5_000
_RETRY_ANSWERS_MS = 1_000
_PUBLISH_SECONDS = 10.0
_PUBLISH_PAUSE_SECONDS = 0.5
_DRAIN_SECONDS = 2.0
_FINAL_REPORT_SECONDS = 1.0


def child_command() -> tuple[str, ...]:
    """Return the command of the challenger's process: this interpreter, without the working directory on its path."""
    return python_command("stream.challenger.process")


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the challenger's environment: the module path, one thread per library, and of our settings the log's form.

    So it never holds a password of Kafka, Redis or a collector; what else it needs is in its `Setup`.
    """
    return python_environment(environment, lambda name: name == _LOG_FORMAT or not name.startswith((PREFIX, "OTEL_")))


class Comparer:
    """Takes published decisions, has the challenger score them, and writes the comparisons.

    Args:
        settings: the worker's settings.
        follower: provides the current challenger, and the candidates for the shadow.
        emit: receives the facts about compared and missed decisions.
        command: the challenger's process; replaced in a test or benchmark that makes it fail.
        lacking: returns why a loaded candidate cannot be served yet.
        names: returns the names under which this worker answers for a candidate.
    """

    def __init__(
        self,
        settings: Settings,
        follower: Follower,
        emit: FactListener,
        command: Sequence[str] | None = None,
        lacking: WarmupProblems = no_warmup_problems,
        *,
        names: AnswerNames = own_name_only,
    ) -> None:
        self._lacking = lacking
        self._settings = settings
        self._follower = follower
        self._emit = emit
        self._publisher = Publisher(settings)
        self._answers = CandidateAnswers(follower, self._publisher, settings.worker_id, names)
        self._misses = MissLog(follower, self._publisher, settings.worker_id, emit)
        setup = Setup(settings.models, settings.features, settings.shadow_memory_mb, settings.model_keys)
        self._process = ChallengerProcess(command or child_command(), setup, child_environment(os.environ))
        self._slots = QueueSlots(settings.shadow_queue)
        self._portion = min(_PORTION, settings.shadow_queue)
        self._queue: deque[QueuedDecisions] = deque()
        self._failures = LoadFailures()
        self._backoff = Backoff()
        self._resume_at = 0.0
        self._woken = asyncio.Event()
        self._full = asyncio.Event()
        self._idle = asyncio.Event()
        self._work: asyncio.Task[None] | None = None
        self._stopping = False
        self._canary_first = False

    @property
    def queued(self) -> int:
        """How many decisions are queued for the challenger or in progress there."""
        return self._slots.used

    def offer(self, scored: Scored, serving: ServingModels, trace: BatchTrace) -> None:
        """Queue decisions for the challenger, or count them as skipped; returns at once and does not raise.

        Those whose features could not be computed are left out.
        """
        dues = comparisons_due(scored, serving)
        self._canary_first = not self._canary_first
        for due in reversed(dues) if self._canary_first else dues:  # else the first would take every slot that is freed
            self._offer(due, trace)

    def _offer(self, due: ComparisonDue, trace: BatchTrace) -> None:
        held, admitted = self._process.loaded.get(due.scorer), 0
        if held is not None and held.fingerprint in due.scored.vectors and not self._stopping:
            self._slots, admitted = self._slots.admit(len(due.scored))
        if held is not None and admitted:
            columns = DecisionColumns.of(due.scored, held.fingerprint, admitted)
            self._queue.append(QueuedDecisions(due.scorer, due.challenger, columns, trace, 0, admitted))
            self._idle.clear()
            self._woken.set()
            if self._slots.used >= self._portion:
                self._full.set()
        self._misses.missed(due.challenger, "skipped", len(due.scored) - admitted)

    def start(self) -> None:
        """Start the background task; the control log must be followed by then."""
        self._work = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Drain the queue for a short time, report what was missed, and end the process."""
        self._stopping = True
        self._full.set()
        if self._work is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                await self._idle.wait()
        self._work.cancel()
        # Not `gather`: it would wait for a task that does not end.
        await asyncio.wait((self._work,), timeout=_FINAL_REPORT_SECONDS)
        self._fail_queued("the worker was stopped", lambda _: True)
        await self._process.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FINAL_REPORT_SECONDS):
                await self._misses.report_due((), now_ms())
                await self._publisher.stop()

    # --- the background task
    async def _run(self) -> None:
        while True:
            try:
                with given_up_as_error():
                    await self._run_once()
            except ChallengerProcessError as error:
                await self._back_off(str(error))
            except Exception:  # no fault here may reach decisions
                log.exception("comparing failed unexpectedly; decisions continue")
                await self._process.close()
                await self._back_off("internal error")

    async def _back_off(self, why: str) -> None:
        """Pause briefly, and delay the challenger's next start."""
        self._backoff = self._backoff.after_fault()
        self._resume_at = asyncio.get_running_loop().time() + self._backoff.seconds
        log.warning("%s; the next one starts in %g s", why, self._backoff.seconds)
        await asyncio.sleep(_POLL_SECONDS)

    async def _run_once(self) -> None:
        """Load the models that are needed, then compare queued decisions, or wait for some."""
        await self._gather()
        await self._process.check()
        now = now_ms()
        candidates = self._answers.unanswered(self._follower.candidates.challengers())
        await self._misses.report_due(self._compared(), now)
        for command_id, digest in candidates.items():
            await self._answer(command_id, digest)
        if asyncio.get_running_loop().time() >= self._resume_at:
            for digest in sorted(self._follower.lineup.shadows_at(now)):
                await self._ensure(digest, now - _RETRY_LOADS_MS)
        await self._unload_unused()
        self._fail_queued("the challenger is not loaded", lambda queued: queued.digest not in self._process.loaded)
        if self._queue:
            await self._compare(take_portion(self._queue, _PORTION))
        else:
            await self._wait()

    # What these two return is not to be cached: lineup and queue may change at every await.

    def _in_use(self) -> set[str]:
        """Return the models that are needed in the shadow now."""
        return {queued.digest for queued in self._queue} | self._follower.lineup.shadows_at(now_ms())

    def _compared(self) -> set[str]:
        """Return the models that decisions are compared with now."""
        compared = self._follower.lineup.compared_at(now_ms())
        return {queued.challenger for queued in self._queue} | ({compared} if compared else set())

    async def _unload_unused(self) -> None:
        """Unload models that are no longer needed; end the process if none is."""
        kept = self._in_use() | set(self._follower.candidates.challengers().values())
        self._failures.keep_only(kept)
        if kept:
            await self._process.keep_only(kept)
        else:
            await self._process.close()

    async def _gather(self) -> None:
        """Wait for a short time until there is a portion of decisions, if there are some but fewer."""
        if not self._queue or self._slots.used >= self._portion or self._stopping:
            return
        self._full.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GATHER_SECONDS):
                await self._full.wait()

    async def _wait(self) -> None:
        self._idle.set()
        self._woken.clear()
        with contextlib.suppress(TimeoutError):
            async with timeout_at_tick(_POLL_SECONDS):
                await self._woken.wait()

    # --- models

    async def _answer(self, command_id: str, digest: str) -> None:
        """Load a candidate and answer for it, also if the process failed on it.

        Not if the task is cancelled meanwhile: publishing the answer may block on Kafka while the worker stops.
        """
        try:
            await self._ensure(digest, now_ms() - _RETRY_ANSWERS_MS)
        except Exception:
            await self._answers.answer(command_id, digest, self._outcome(digest))
            raise
        await self._answers.answer(command_id, digest, self._outcome(digest))

    def _outcome(self, digest: str) -> ProbeOutcome:
        held = self._process.loaded.get(digest)
        if held is None:
            return self._failures.problems(digest)
        return self._lacking(held.fingerprint) or held.probe_hash

    async def _ensure(self, digest: str, failed_before_ms: int) -> None:
        """Load a model that is not loaded, unless an attempt failed later than `failed_before_ms`."""
        if digest in self._process.loaded or self._failures.is_recent(digest, failed_before_ms):
            return
        try:
            problems = (await self._process.load(digest)).problems
        except Exception as error:
            why = (
                str(error)
                if isinstance(error, ChallengerProcessError)
                else f"internal error of the worker: {type(error).__name__}"
            )
            self._failures.add(digest, (Problem(ProblemCode.SHADOW_FAILED, why),))
            raise
        if digest in self._process.loaded:
            self._failures.remove(digest)
            log.info("the challenger's process loaded %s", digest[:12])
        else:
            self._failures.add(digest, problems)
            log.error("challenger %s cannot be loaded: %s", digest[:12], "; ".join(one.detail for one in problems))

    # --- decisions

    def _fail_queued(self, why: str, affected: Callable[[QueuedDecisions], bool]) -> None:
        """Remove the affected decisions from the queue and count them as failed."""
        failed = [queued for queued in self._queue if affected(queued)]
        if failed:
            self._queue = deque(queued for queued in self._queue if not affected(queued))
        for queued in failed:
            self._slots = self._slots.release(len(queued))
            self._misses.missed(queued.challenger, "failed", len(queued), why)

    async def _compare(self, portion: Sequence[QueuedDecisions]) -> None:
        """Have decisions compared and publish the comparisons; decisions without one are counted as failed."""
        challenger, count, why = portion[0].challenger, sum(map(len, portion)), "the worker was stopped"
        failed = count
        try:
            reply = await self._process.compare(compare_request(portion), self._settings.shadow_timeout)
            self._backoff = Backoff()
            why = reply.why or "comparisons could not be written"
            if await self._publish(by_destination(self._settings.topic(SHADOW_SCORES.name), portion, reply)):
                failed = sum(record is None for record in reply.records)
                emit_compared(portion, reply, self._emit)
        except ChallengerProcessError as error:
            why = str(error)
            raise
        finally:
            self._slots = self._slots.release(count)
            self._misses.compared(challenger, count - failed)
            self._misses.missed(challenger, "failed", failed, why)

    async def _publish(self, outgoing: Mapping[Destination, Sequence[Outgoing]]) -> bool:
        """Publish comparisons, with retries for a limited time; tell whether they were acknowledged."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PUBLISH_SECONDS):
                while True:
                    try:
                        await self._publisher.publish(outgoing)
                    except PublishError as error:
                        log.warning("comparisons could not be written, retrying: %s", error)
                        await asyncio.sleep(_PUBLISH_PAUSE_SECONDS)
                    else:
                        return True
        return False
