"""Whether an offset was decided is found by bisection as by reading all scores."""

import json
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np
import pytest
from aiokafka import TopicPartition

from fraudstream_client.validity import Standing, log_and_offset, place_of
from stream.positions import decided as module
from stream.positions.decided import undecided_among

TP = TopicPartition("scores", 3)


class Score(NamedTuple):
    """What a score says that decides whether it is valid."""

    offset: int
    epoch: int
    log: int
    source: int

    @property
    def value(self) -> bytes:
        """The record's value."""
        source = {"offset": self.source, "log": self.log}
        return json.dumps({"epoch": self.epoch, "revision": 1, "source": source}).encode()

    headers: Any = ()


class Topic:
    """A consumer of one partition, which counts what it hands out."""

    def __init__(self, scores: Sequence[Score], begin: int) -> None:
        self._scores = scores
        self._begin, self._end = begin, scores[-1].offset + 2 if scores else begin  # a marker at the end
        self._at = begin
        self.read = 0

    def seek(self, _tp: TopicPartition, offset: int) -> None:
        """Read on from an offset."""
        self._at = offset

    async def getmany(self, tp: TopicPartition, **_options: object) -> Mapping[TopicPartition, Sequence[Score]]:
        """Return the next 500 records."""
        first = bisect_left(self._scores, self._at, key=attrgetter("offset"))
        found = self._scores[first : first + 500]
        self._at = found[-1].offset + 1 if found else self._end
        self.read += len(found)
        return {tp: found}

    async def position(self, _tp: TopicPartition) -> int:
        """Return where it reads on."""
        return self._at

    async def beginning_offsets(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the first offset."""
        return dict.fromkeys(tps, self._begin)

    async def end_offsets(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """Return the end."""
        return dict.fromkeys(tps, self._end)


def some_scores(rng: np.random.Generator, count: int, begin: int) -> list[Score]:
    """Return scores of two logs with gaps, repetitions by former owners, and decisions that these still append."""
    scores, at, epoch, log, source = list[Score](), begin, 1_024, 0, 0
    for number in range(count):
        at += int(rng.choice([1, 1, 1, 2]))
        if number == count // 3:
            log, source = 1, 0
        kind = rng.random()
        if kind < 0.02:
            epoch += 1_024
        if kind < 0.1:
            scores.append(Score(at, epoch, log, max(0, source - int(rng.integers(5)))))
        elif kind < 0.15:
            scores.append(Score(at, epoch - 1_024, log, source + int(rng.integers(4))))
        else:
            source += int(rng.choice([1, 1, 2]))
            scores.append(Score(at, epoch, log, source))
    return scores


def valid_places(scores: Sequence[Score]) -> set[int]:
    standing, valid = Standing(), set[int]()
    for one in scores:
        place = place_of(one.log, one.source)
        if standing.is_valid(one.epoch, place):
            valid.add(place)
        standing = standing.after(one.epoch, place)
    return valid


@pytest.mark.parametrize("seed", range(3))
async def test_what_is_found_is_what_all_scores_say(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EARLIER_SCORES", 60)
    monkeypatch.setattr(module, "_READ_THROUGH", 200)
    rng = np.random.default_rng(seed)
    scores = some_scores(rng, 3_000, begin=int(rng.integers(2)) * 500)
    begin, valid = scores[0].offset, valid_places(scores)
    places = [place_of(log, source) for log in (0, 1) for source in range(2_500)]
    asked = [places[at] for at in rng.choice(len(places), 100, replace=False)]
    consumer: Any = Topic(scores, begin)
    for log in (0, 1):
        offsets = [offset for asked_log, offset in map(log_and_offset, asked) if asked_log == log]
        decided = {offset for offset in offsets if place_of(log, offset) in valid}
        assert await undecided_among(consumer, TP, log, offsets) == set(offsets) - decided
    assert 0 < len(valid.intersection(asked)) < 100


async def test_few_of_many_scores_are_read() -> None:
    scores = [Score(at, 1, 0, 2 * at) for at in range(100_000)]
    consumer: Any = Topic(scores, 0)
    assert await undecided_among(consumer, TP, 0, [2 * 37_777, 2 * 37_777 + 1]) == {2 * 37_777 + 1}
    assert consumer.read < 60_000
