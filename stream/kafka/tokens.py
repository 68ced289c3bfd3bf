"""Keeps a token for SASL OAUTHBEARER: one keeper for each source of a process, renewed by a thread of its own.

Clients on all event loops take the token that is there. A request for the next one waits for nobody and nobody waits
for it while the old one lasts, so a provider that is slow or away is noticed only when the old token has expired.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import inf
from typing import Protocol

from aiokafka.abc import AbstractTokenProvider
from aiokafka.errors import KafkaConnectionError
from numpy.random import default_rng

from stream.tasks import Once

log = logging.getLogger("fraudstream.tokens")

_SPREAD = default_rng()
_PATIENCE_SECONDS = 12.0
"""So long a new connection waits for the first token: longer than an endpoint is waited for, which tells more."""
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 30.0
_LEAST_GAIN_SECONDS = 1.0
"""So much longer a login by the same token must last to be worth it: it ends a session that ends with the token."""
_LONGEST_UNASKED_SECONDS = 3600.0
_LONGEST_WITHOUT_SECONDS = 5.0
"""The longest pause between two attempts while there is no token that is valid."""


@dataclass(frozen=True, slots=True)
class Token:
    """A token, how long it lasts from when it was asked for, and what it says of itself, without what is secret."""

    value: str = field(repr=False)
    lifetime_s: float = inf
    claims: str = ""


class TokenSource(Protocol):
    """Where tokens come from."""

    @property
    def name(self) -> str:
        """The source in messages."""
        ...

    def fetch(self) -> Token | str:
        """Return a token, or why there is none: one line, without secrets. It may block."""
        ...

    def pause_s(self, lifetime_s: float, spread: float) -> float:
        """Return how long after a token that lasts so long the next one is asked for; `spread` is from 0 to 1."""
        ...


@dataclass(frozen=True, slots=True)
class HeldToken:
    """What a keeper has: a token and until when it lasts, and why the attempts since have failed."""

    token: Token | None = None
    until: float = -inf
    problem: str = ""
    failures: int = 0

    def valid(self, now: float) -> Token | None:
        """Return the token, unless it has expired."""
        return self.token if now < self.until else None

    def after(self, outcome: Token | str, asked_at: float) -> "HeldToken":
        """Return what is held after an attempt that began at `asked_at`; one that failed leaves the token."""
        if isinstance(outcome, str):
            return replace(self, problem=outcome, failures=self.failures + 1)
        return HeldToken(outcome, asked_at + outcome.lifetime_s)

    def pause_s(self, source: TokenSource, now: float, spread: float) -> float:
        """Return how long to wait before the next attempt."""
        if not self.failures and self.token is not None:
            return source.pause_s(self.token.lifetime_s, spread)
        pause = min(_FIRST_PAUSE_SECONDS * 2.0 ** min(self.failures - 1, 10), _LONGEST_PAUSE_SECONDS)
        if self.valid(now) is None:
            pause = min(pause, _LONGEST_WITHOUT_SECONDS)
        return pause * (0.8 + 0.4 * spread)


class TokenKeeper(AbstractTokenProvider):  # type: ignore[misc] # aiokafka ships no types
    """Has a valid token whenever it can; aiokafka's provider of tokens, on any event loop."""

    def __init__(
        self,
        source: TokenSource,
        extensions: Mapping[str, str],
        clock: Callable[[], float] = time.monotonic,
        spread: Callable[[], float] = _SPREAD.random,
    ) -> None:
        self._source = source
        self._extensions = dict(extensions)
        self._clock = clock
        self._spread = spread
        self._held = HeldToken()
        self._refusal = ""
        self._end_at_brokers = ("", inf)
        self._asked_at = -inf
        self._sooner = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._waiting: set[tuple[asyncio.AbstractEventLoop, Once]] = set()

    def extensions(self) -> dict[str, str]:
        """Return the SASL extensions that go with each token."""
        return self._extensions

    async def token(self) -> str:
        """Return a token that is valid; the first one is waited for.

        Raises:
            aiokafka.errors.KafkaConnectionError: there is none; retried, as for a broker that is away.
        """
        return (await self._await(lambda _token, _until: True, gives_up=True)).value

    async def await_longer(self, than: str, until: float) -> None:
        """Wait until a login lasts beyond `until`, a time of the clock: by another token than that, or by the same."""
        await self._await(lambda token, lasts: token.value != than or lasts > until + _LEAST_GAIN_SECONDS)

    def trouble(self) -> str | None:
        """Return why nobody can log in, in one line; None if that is not known to be so."""
        if self._held.valid(self._clock()) is not None:
            return self._refusal or None
        if not self._held.problem and self._held.token is None:
            return None  # the first one has not come yet
        expired = "the last token has expired, and" if self._held.token is not None else "no token yet:"
        why = self._held.problem or "no other one has come"
        return f"cannot log in to Kafka: {expired} {self._source.name} gives none: {why}"

    def note_login(self, refusal: str = "") -> str:
        """Note that the brokers have taken the token, or why they have refused it; return that in one line.

        A token that is refused before its time, as after a change of keys, is replaced soon.
        """
        if refusal and self._clock() - self._asked_at > _LONGEST_WITHOUT_SECONDS:
            self._sooner.set()
        token = self._held.token
        said = f", which says {token.claims}," if token is not None and token.claims else ""
        self._refusal = refusal and (
            f"the brokers refuse the token of {self._source.name}{said} ({refusal}): check the issuer, audience and "
            "scope that they expect"
        )
        return self._refusal

    def note_end(self, token: str, ends: float) -> None:
        """Note that brokers take a token as expired from a time of the clock on, earlier than its source says.

        Their clock is ahead of the source's, then. The next token is asked for now, since they would refuse this one.
        """
        if self._end_at_brokers[0] != token:  # once for each: a source may give the same one again
            self._end_at_brokers = (token, ends)
            self._sooner.set()

    def look(self) -> float:
        """Ask the source once, and return how long to wait before the next time; blocks."""
        asked_at = self._asked_at = self._clock()
        try:
            outcome = self._source.fetch()
        except Exception as error:  # the thread must go on: without it, no token would be renewed any more
            log.exception("a token could not be asked for")
            outcome = f"an unexpected {type(error).__name__}"
        before = self._held
        self._held = before.after(outcome, asked_at)
        self._log(before)
        for loop, change in self._all_waiting():
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(change.happen)
        return min(self._held.pause_s(self._source, self._clock(), self._spread()), _LONGEST_UNASKED_SECONDS)

    def _all_waiting(self) -> "tuple[tuple[asyncio.AbstractEventLoop, Once], ...]":
        # A tricky part! Loops change the set without a lock: one thread could take a lock twice, where it collects a
        # coroutine that waits as garbage. A change while the set is copied is an error, which would end the thread.
        while True:
            with suppress(RuntimeError):
                return tuple(self._waiting)

    def _log(self, before: HeldToken) -> None:
        if self._held.problem and self._held.problem != before.problem:
            # Without a token nobody can log in, and each that tries tells why.
            level = logging.INFO if before.token is None else logging.WARNING
            log.log(level, "%s gives no token, it is asked again: %s", self._source.name, self._held.problem)
        elif before.problem and not self._held.problem:
            log.info("%s gives tokens again", self._source.name)

    async def _await(self, suits: Callable[[Token, float], bool], *, gives_up: bool = False) -> Token:
        """Wait for a token that suits, by itself and its end; with `gives_up`, only while one may be on its way."""
        self._begin()
        loop = asyncio.get_running_loop()
        deadline = loop.time() + (_PATIENCE_SECONDS if gives_up else inf)
        while True:
            # Before the look: else a change between the two would wake nobody.
            change = (loop, Once(loop))
            self._waiting.add(change)
            try:
                held, (shortened, ends) = self._held, self._end_at_brokers
                if (token := held.valid(self._clock())) is not None:
                    lasts = min(held.until, ends) if token.value == shortened else held.until
                    if suits(token, lasts):
                        return token
                if gives_up and (held.problem or loop.time() >= deadline):
                    late = f"{self._source.name} has not given a token within {_PATIENCE_SECONDS:g} s"
                    raise KafkaConnectionError(self.trouble() or late)
                await (change[1].until(deadline) if gives_up else change[1].happened)
            finally:
                self._waiting.discard(change)

    def _begin(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep, name="tokens", daemon=True)
                self._thread.start()

    def _keep(self) -> None:
        """Ask for tokens for ever; the thread ends with the process."""
        while True:
            self._sooner.wait(self.look())
            self._sooner.clear()
