"""How much own partitions may let through today, and how much of that is left, for the gauges."""

from collections import Counter
from collections.abc import Mapping

from models.times import day_of
from stream.clock import now_ms
from stream.control.follower import Follower
from stream.worker.positions import DecisionPositions


class LetThroughGauges:
    """Amounts in minor units by currency, over the own partitions whose positions are known.

    Its methods are callable from any thread. Both are empty where nothing is let through, and in a silent deployment.
    """

    def __init__(self, positions: DecisionPositions, follower: Follower) -> None:
        self._positions = positions
        self._follower = follower

    def cap(self) -> Mapping[str, int]:
        """Return how much may be let through on a day."""
        return self._sums(is_left=False)

    def left(self) -> Mapping[str, int]:
        """Return how much of that is left today."""
        return self._sums(is_left=True)

    def _sums(self, *, is_left: bool) -> Mapping[str, int]:
        rule, positions = self._follower.lineup.let_through, self._positions
        if rule is None or not positions.role.publishes:
            return {}
        day, sums = day_of(now_ms()), Counter(dict.fromkeys(rule.caps, 0))
        for partition, position in tuple(positions.known().items()):
            if partition in positions.partitions:
                part = position.let_through.left(rule, partition, day) if is_left else rule.share_of(partition)
                sums.update(part)
        return sums
