"""A keeper has a valid token whenever it can: renewed in time, kept while a source is away, missed once expired."""

import asyncio
import threading
from collections.abc import Iterator
from math import inf
from typing import Any

import pytest
from aiokafka.errors import KafkaConnectionError

from stream.kafka.tokens import HeldToken, Token, TokenKeeper
from stream.tasks import Once


class Script:
    """A source that gives what a test has put in, the last of it again and again."""

    name = "the source"

    def __init__(self, *outcomes: Token | str) -> None:
        self.outcomes = list(outcomes)
        self.asked = 0

    def fetch(self) -> Token | str:
        self.asked += 1
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if outcome == "a bug":
            raise ZeroDivisionError
        return outcome

    def pause_s(self, lifetime_s: float, spread: float) -> float:
        return lifetime_s * (0.75 + 0.05 * spread)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def kept(source: Script) -> tuple[TokenKeeper, Clock]:
    clock = Clock()
    return TokenKeeper(source, {"a": "b"}, clock, lambda: 0.5), clock


FIRST, SECOND = Token("first", 30.0), Token("second", 30.0)


async def test_the_next_token_is_asked_for_at_three_quarters_of_the_lifetime_to_four_fifths() -> None:
    for spread, pause in ((0.0, 22.5), (1.0, 24.0)):
        keeper = TokenKeeper(Script(FIRST), {}, Clock(), lambda spread=spread: spread)
        assert keeper.look() == pytest.approx(pause)


def test_a_source_that_is_away_is_asked_more_and_more_rarely_and_its_token_serves_until_it_expires() -> None:
    source = Script(FIRST, "it is away")
    keeper, clock = kept(source)
    keeper.look()
    clock.now += 23
    pauses = [keeper.look() for _ in range(8)]
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert keeper.trouble() is None
    clock.now += 6.9
    assert keeper.trouble() is None
    clock.now += 0.1
    assert keeper.trouble() == (
        "cannot log in to Kafka: the last token has expired, and the source gives none: it is away"
    )
    assert keeper.look() == 5.0  # nobody can log in: it is asked more often again
    source.outcomes = [SECOND]
    assert keeper.look() == pytest.approx(23.25)
    assert keeper.trouble() is None


def test_what_fails_unexpectedly_is_tried_again_too(caplog: pytest.LogCaptureFixture) -> None:
    source = Script("a bug", FIRST)
    keeper, _ = kept(source)
    assert keeper.look() == 0.5
    assert (
        keeper.trouble()
        == "cannot log in to Kafka: no token yet: the source gives none: an unexpected ZeroDivisionError"
    )
    keeper.look()
    assert keeper.trouble() is None
    assert "a token could not be asked for" in caplog.text


def test_each_change_is_logged_once_and_no_token_ever(caplog: pytest.LogCaptureFixture) -> None:
    source = Script(FIRST, "it is away", "it is away", SECOND)
    keeper, _ = kept(source)
    with caplog.at_level("INFO"):
        for _ in range(4):
            keeper.look()
    assert [record.getMessage() for record in caplog.records] == [
        "the source gives no token, it is asked again: it is away",
        "the source gives tokens again",
    ]
    assert "first" not in f"{FIRST!r}{HeldToken(FIRST)!r}{keeper!r}"


async def test_the_first_token_is_waited_for_and_one_request_serves_all_loops() -> None:
    asked, answer = threading.Event(), threading.Event()

    class Slow(Script):
        def fetch(self) -> Token | str:
            asked.set()
            answer.wait(5)
            return super().fetch()

    source = Slow(Token("first", inf))
    keeper = TokenKeeper(source, {})
    found: list[str] = []
    other = threading.Thread(target=lambda: found.append(asyncio.run(keeper.token())))
    other.start()
    waiting = [asyncio.create_task(keeper.token()) for _ in range(3)]
    await asyncio.sleep(0.05)
    assert asked.is_set()
    assert not any(task.done() for task in waiting)
    answer.set()
    assert await asyncio.gather(*waiting) == ["first"] * 3
    await asyncio.to_thread(other.join)
    assert found == ["first"]
    assert source.asked == 1


async def test_without_a_token_whoever_asks_is_told_at_once_why_there_is_none() -> None:
    keeper = TokenKeeper(Script("it is away"), {})
    with pytest.raises(KafkaConnectionError) as refused:
        await keeper.token()
    assert refused.value.args[0] == "cannot log in to Kafka: no token yet: the source gives none: it is away"


async def test_a_source_that_does_not_answer_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.kafka.tokens._PATIENCE_SECONDS", 0.05)
    answer = threading.Event()

    class Hung(Script):
        def fetch(self) -> Token | str:
            answer.wait(5)
            return super().fetch()

    keeper = TokenKeeper(Hung(FIRST), {})
    with pytest.raises(KafkaConnectionError, match=r"the source has not given a token within 0.05 s"):
        await keeper.token()
    answer.set()


def test_a_refusal_lasts_until_a_login_succeeds_and_quotes_what_the_token_says_of_itself() -> None:
    keeper, _ = kept(Script(Token("value", 30.0, "issuer 'i', audience 'x'")))
    keeper.look()
    keeper.note_login("invalid_token")
    assert keeper.trouble() == (
        "the brokers refuse the token of the source, which says issuer 'i', audience 'x', (invalid_token): check the "
        "issuer, audience and scope that they expect"
    )
    keeper.note_login()
    assert keeper.trouble() is None


async def test_a_token_that_is_refused_before_its_time_is_replaced_but_not_at_every_refusal() -> None:
    source = Script(Token("first", 1e6), Token("second", 1e6))
    keeper, clock = kept(source)
    assert await keeper.token() == "first"
    keeper.note_login("invalid_token")
    await asyncio.sleep(0.05)
    assert source.asked == 1
    clock.now += 6
    keeper.note_login("invalid_token")
    async with asyncio.timeout(5):
        await keeper.await_longer("first", inf)
    assert await keeper.token() == "second"


def test_a_client_that_begins_to_wait_while_the_waiting_ones_are_told_does_not_end_the_thread() -> None:
    class Waiting(set[Any]):
        """A set that another thread changes while it is copied for the first time."""

        changed = False

        def __iter__(self) -> Iterator[Any]:
            for one in super().__iter__():
                if not self.changed:
                    self.changed = True
                    self.add((loop, Once(loop)))
                yield one

    keeper, _ = kept(Script(FIRST))
    loop = asyncio.new_event_loop()
    keeper._waiting = Waiting({(loop, Once(loop))})
    keeper.look()
    loop.close()
    assert keeper._held.token is FIRST
