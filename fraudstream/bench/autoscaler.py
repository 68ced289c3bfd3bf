"""How many workers Kubernetes would run: KEDA's Kafka scaler on a lag, and the horizontal autoscaler behind it.

As KEDA 2 does with even distribution, a lag asks for the smallest divisor of the number of partitions that has enough
workers for it. The horizontal autoscaler ignores what differs by a tenth from what it has, takes the most that was
asked for within the time of stabilisation before it scales down, and changes by so many workers in a period.
"""

import math
from collections import deque
from dataclasses import dataclass

_TOLERANCE = 0.1


@dataclass(frozen=True)
class ScalingRule:
    """The numbers of an autoscaler; deploy/helm's values have the same names.

    Attributes:
        min_workers, max_workers: how many there are at least and at most.
        lag_per_worker: payments that wait, for each worker.
        poll_seconds: how often it looks.
        up_every_seconds: in a period of so long, twice as many at most, or two more.
        down_after_seconds: for so long less must have been asked for.
        down_every_seconds: in a period of so long, one worker less at most.
    """

    min_workers: int
    max_workers: int
    lag_per_worker: float
    poll_seconds: float
    up_every_seconds: float
    down_after_seconds: float
    down_every_seconds: float


class Autoscaler:
    """Tells, look by look, how many workers there should be.

    Args:
        rule: its numbers.
        partitions: of the topic.
    """

    def __init__(self, rule: ScalingRule, partitions: int) -> None:
        self._rule = rule
        self._divisors = [one for one in range(1, partitions + 1) if partitions % one == 0]
        self._asked: deque[tuple[float, int]] = deque()
        self._changes: deque[tuple[float, int]] = deque()

    def workers(self, now: float, lag: int, current: int) -> int:
        """Return how many there should be.

        Args:
            now: seconds of a clock that does not go back.
            lag: payments that are not committed, over all partitions.
            current: how many there are, with those that start.
        """
        asked = self._wanted(lag, current)
        self._forget(now)
        self._asked.append((now, asked))
        if asked < current:
            asked = min(current, max(count for _, count in self._asked))
        found = self._limited(now, asked, current)
        if found != current:
            self._changes.append((now, found - current))
        return found

    def _wanted(self, lag: int, current: int) -> int:
        """Return the workers for a lag, before any limit of change."""
        rule = self._rule
        needed = lag / rule.lag_per_worker
        spread = next((one for one in self._divisors if one >= needed), self._divisors[-1])
        wanted = current if abs(spread / max(1, current) - 1) <= _TOLERANCE else spread
        return min(rule.max_workers, max(rule.min_workers, wanted))

    def _limited(self, now: float, asked: int, current: int) -> int:
        rule = self._rule
        risen = sum(by for at, by in self._changes if by > 0 and at > now - rule.up_every_seconds)
        fallen = sum(-by for at, by in self._changes if by < 0 and at > now - rule.down_every_seconds)
        most = max(2 * (current - risen), current - risen + 2)
        least = current + fallen - 1
        return min(max(asked, min(least, current)), max(most, current))

    def _forget(self, now: float) -> None:
        rule = self._rule
        while self._asked and self._asked[0][0] <= now - rule.down_after_seconds:
            self._asked.popleft()
        longest = max(rule.up_every_seconds, rule.down_every_seconds)
        while self._changes and self._changes[0][0] <= now - longest:
            self._changes.popleft()


def workers_needed(rate: float, capacity: float) -> int:
    """Return the fewest workers that decide as much as arrives, at least one.

    Args:
        rate: payments a second.
        capacity: payments a second that one worker decides.
    """
    return max(1, math.ceil(rate / capacity))
