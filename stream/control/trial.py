"""Tries an artifact in a process of its own before it is read here, so that what it breaks is that process.

Whoever may write to the model repository can store any bytes under their right digest. Their layout is checked before
LightGBM reads them, but a fault of a parser could still end a process, fill its memory or keep it for ever. So each
artifact is loaded once by a child with limits, and only then by a worker, a command, or what explains alerts. A fault
that gives an attacker the process would give him the next one too: signatures are against that.
"""

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

import msgspec

from models.artifact import Contents
from models.errors import DamagedArtifactError, RepositoryUnavailableError
from models.model_signatures import ModelTrust
from models.repository import Repository

log = logging.getLogger("fraudstream.trial")

READY = b"ready\n"
"""What the child writes before it reads the artifact: until then, a fault is the machine's."""
NO_FEATURES = "-"
"""In place of feature modules: histories are not tried."""
_RETRY_SECONDS = 300.0
"""How long an artifact that failed is not tried again: the machine may have had no memory for it."""
_ENVIRONMENT = frozenset(
    {"PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE", "PYTHONHOME", "PYTHONPYCACHEPREFIX"}
    | {"PYTHONDONTWRITEBYTECODE"}
)
"""What a trial needs of the environment: no setting, and no login."""


class TrialLimits(NamedTuple):
    """The most that loading an artifact may take: time by the clock, processor time, private memory."""

    seconds: float = 60.0
    cpu_seconds: int = 45
    memory_mb: int = 1024


LIMITS = TrialLimits()
"""The largest artifact takes 13 s and 530 MiB."""


class TrialVerdict(msgspec.Struct, frozen=True):
    """What a child says of an artifact: it is `damaged`, as the reader's message says, or reading it `failed`.

    A failure that may be the machine's is `brief`: the artifact is tried again when it is asked for again.
    """

    damaged: str = ""
    failed: str = ""
    brief: bool = False


class _Failure(NamedTuple):
    """Why an artifact is not read, and until when it is not tried again, by the monotonic clock."""

    why: str
    until: float


def python_command(module: str, *arguments: str) -> tuple[str, ...]:
    """Return the command of a module of ours: this interpreter, without the working directory on its path."""
    return (sys.executable, "-P", "-m", module, *arguments)


def python_environment(environment: Mapping[str, str], keeps: Callable[[str], bool]) -> dict[str, str]:
    """Return the complete environment of such a process: what `keeps` says, our path, one thread for each library."""
    kept = {name: value for name, value in environment.items() if keeps(name)}
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {**kept, **single, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


class ArtifactTrial:
    """Tries each artifact once, and remembers those that passed. Thread-safe; blocks for as long as a trial takes.

    Args:
        features: the modules of feature rows whose histories are tried too; None: none are.
        limits: the most that loading may take.
        command: the child; replaced in a test.
    """

    def __init__(
        self, features: str | None, limits: TrialLimits = LIMITS, command: Sequence[str] | None = None
    ) -> None:
        named = NO_FEATURES if features is None else features
        own = (named, str(limits.memory_mb), str(limits.cpu_seconds))
        self._command = tuple(command or python_command("stream.control.trial_process", *own))
        self._limits = limits
        self._passed: set[str] = set()
        self._failures: dict[str, _Failure] = {}
        self._locks: dict[str, threading.Lock] = {}

    def __call__(self, digest: str, contents: Contents) -> None:
        """Return once an artifact has been loaded without harm, in this call or an earlier one.

        Raises:
            DamagedArtifactError: the child could not load it, or did not survive it; the message says which.
            RepositoryUnavailableError: no child could be started.
        """
        # Loads run in threads of their own; two of one artifact need one trial. `setdefault` is one step, so that both
        # get the same lock.
        with self._locks.setdefault(digest, threading.Lock()):
            if digest in self._passed:
                return
            known = self._failures.get(digest)
            if known is None or known.until < time.monotonic():
                verdict = self._try(digest, contents)
                if verdict == TrialVerdict():
                    self._passed.add(digest)
                    return
                until = time.monotonic() + (0.0 if verdict.brief else _RETRY_SECONDS)
                known = self._failures[digest] = _Failure(_why(digest, verdict), until)
            raise DamagedArtifactError(known.why)

    def _try(self, digest: str, contents: Contents) -> TrialVerdict:
        """Try an artifact, and log how long that took."""
        began = time.monotonic()
        verdict = self._verdict(digest, contents)
        log.info("tried artifact %s in a process of its own: %d ms", digest[:12], 1000 * (time.monotonic() - began))
        return verdict

    def _verdict(self, digest: str, contents: Contents) -> TrialVerdict:
        """Start a child, give it the files, and return what it says, or what became of it."""
        try:
            done = subprocess.run(  # noqa: S603 - our own module
                self._command,
                input=msgspec.msgpack.encode(dict(contents)),
                capture_output=True,
                env=python_environment(os.environ, _ENVIRONMENT.__contains__),
                timeout=self._limits.seconds,  # past it, the child is killed by its id
                start_new_session=True,  # Ctrl-C in the terminal reaches this process alone
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            self._require_ready(digest, error.stdout or b"", f"did not start within {self._limits.seconds:g} s")
            return TrialVerdict(failed=f"was not done after {self._limits.seconds:g} s")
        except OSError as error:
            raise RepositoryUnavailableError(
                f"{digest} cannot be tried: no process can be started: {error.strerror or error}"
            ) from error
        ended = _ended(done.returncode, self._limits)
        complaint = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        self._require_ready(digest, done.stdout, f"{ended.failed}: {complaint:.200}")
        try:
            return msgspec.json.decode(done.stdout.removeprefix(READY), type=TrialVerdict)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return ended

    def _require_ready(self, digest: str, output: bytes, otherwise: str) -> None:
        """Require that a child began to read: an artifact is not to blame for a machine that cannot start it.

        Raises:
            RepositoryUnavailableError: it did not.
        """
        if not output.startswith(READY):
            raise RepositoryUnavailableError(f"{digest} cannot be tried: the process for it {otherwise}")


def _ended(code: int, limits: TrialLimits) -> TrialVerdict:
    """Describe how a process ended that gave no answer; the exit code is negative for a signal."""
    if code == -signal.SIGXCPU:
        return TrialVerdict(failed=f"needed more than {limits.cpu_seconds} s of processor time")
    if code == -signal.SIGKILL:
        return TrialVerdict(failed="was ended by SIGKILL, as where the machine has too little memory", brief=True)
    if code < 0:
        name = next((one.name for one in signal.Signals if one == -code), f"signal {-code}")
        return TrialVerdict(failed=f"was ended by {name}")
    return TrialVerdict(failed=f"ended with exit code {code}")


def _why(digest: str, verdict: TrialVerdict) -> str:
    """Return why an artifact is not read: in the reader's words, or by what became of the child."""
    if not verdict.failed:
        return verdict.damaged
    return (
        f"{digest} is not read here, because a process that tried to load it {verdict.failed}: use another model, and "
        "find out who has stored this one"
    )


@lru_cache
def trial_of(features: str | None) -> ArtifactTrial:
    """Return this process's trial, one for all its repositories."""
    return ArtifactTrial(features)


class TriedRepository(Repository):
    """A repository that returns an artifact only once a process of its own has loaded it without harm.

    `features` are the modules of feature rows whose histories are tried too; None: none are.
    """

    def __init__(self, url: str, trust: ModelTrust | None = None, *, features: str | None = None) -> None:
        super().__init__(url, trust)
        self._trial = trial_of(features)

    def fetch(self, digest: str) -> dict[str, bytes]:
        """Return an artifact's files by name, as `Repository.fetch` does; the first time it takes a second longer."""
        contents = super().fetch(digest)
        self._trial(digest, contents)
        return contents
