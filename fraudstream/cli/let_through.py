"""What was let through today, for `fraudstream limits show`: from the group's commits and the scores behind them."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from aiokafka.errors import KafkaError

from models.let_through import LetThrough, LetThroughTotals
from models.terms import Term
from models.times import day_of
from stream.clock import now_ms
from stream.contract.money import money_text
from stream.kafka.client import explain_error, open_admin
from stream.kafka.topics import TRANSACTIONS, partition_counts, publishes_in
from stream.positions.score_tails import read_resume_points
from stream.settings import Settings

_SECONDS = 20.0
"""How long scores are read: without commits all of them would have to be."""


class LetThroughToday(NamedTuple):
    """What was let through on a UTC day, and what is left of the caps, in minor units by currency."""

    day: str
    let_through: Mapping[str, int]
    left: Mapping[str, int]

    def facts(self) -> dict[str, Any]:
        """Return it as plain JSON."""
        return {"day": self.day, "let_through": dict(self.let_through), "left": dict(self.left)}

    def text(self) -> str:
        """Return it for people."""
        used = money_text(self.let_through) or "nothing"
        return f"today, {self.day}: {used} let through, {money_text(self.left)} left"


async def look_at_today(settings: Settings, term: Term, rule: LetThrough) -> LetThroughToday | str:
    """Return what a deployment has let through today; or why that is not known."""
    if not publishes_in(settings, term, term.number):
        return f"{settings.deployment} decides silently, so it lets nothing through"
    try:
        async with asyncio.timeout(_SECONDS):
            return today_of(rule, await _totals(settings, term), day_of(now_ms()))
    except TimeoutError:
        return f"the scores were not read within {_SECONDS:g} s"
    except (KafkaError, OSError) as error:
        return await explain_error(settings, error)


async def _totals(settings: Settings, term: Term) -> dict[int, LetThroughTotals]:
    """Return what each partition has let through on the last such day.

    Raises:
        aiokafka.errors.KafkaError: the brokers do not respond.
    """
    async with open_admin(settings) as admin:
        count = (await partition_counts(admin, settings)).get(settings.topic(TRANSACTIONS.name), 0)
        points = await read_resume_points(settings, admin, range(count), term)
    return {partition: point.position.let_through for partition, point in points.items()}


def today_of(rule: LetThrough, totals: Mapping[int, LetThroughTotals], day: str) -> LetThroughToday:
    """Return what partitions have let through on a day, and what is left of their parts of the caps."""
    used, left = Counter[str](), Counter(dict.fromkeys(rule.caps, 0))
    for partition, one in totals.items():
        used.update(one.on(day))
        left.update(one.left(rule, partition, day))
    return LetThroughToday(day, dict(sorted(used.items())), dict(left))
