"""`fraudstream decisions`: the valid decisions of the topic `scores`, the newest last, or one by one as they are made.

It shows what a consumer of one's own reads: the same rule tells which scores count.
"""

import asyncio
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import click
import msgspec

from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.ops.watch.incidents.texts import money_text
from fraudstream.terminal import echo, echo_json
from models.commands import SHORT_DIGEST
from stream.kafka.topics import SCORES
from stream.printing import printable
from stream.readers import ScoreView, ValidViews, read_scores
from stream.scan import EARLIER_SCORES, FetchedRecord, TopicScan, scan_topic
from stream.settings import Settings

_FOLLOW_SECONDS = 0.25
"""So often it is looked for decisions that are new."""


class DecisionRecord(NamedTuple):
    """A valid score: when it was written, where, what it says, and the record's value."""

    timestamp: int
    partition: int
    offset: int
    view: ScoreView
    value: bytes


@click.command()
@click.option("--last", type=click.IntRange(0), default=20, show_default=True, help="How many, the newest ones.")
@click.option("--follow", "-f", is_flag=True, help="Go on with those that are made from now on, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print each score/1 as it stands, one object a line.")
def decisions(last: int, *, follow: bool, as_json: bool) -> None:
    """Show the newest decisions, or follow them as they are made.

    A line has the time of the decision, the decision, the probability of fraud, the payment, its card and amount, what
    decided, and how long the payment waited. Scores that are void, as a worker that was replaced may write, are left
    out.
    """
    settings = settings_or_refuse()
    with Refusals(settings):
        asyncio.run(_show(settings, last, follows=follow, as_json=as_json))


async def _show(settings: Settings, last: int, *, follows: bool, as_json: bool) -> None:
    async with scan_topic(settings, settings.topic(SCORES.name), 0) as scan:
        reader = DecisionTail(scan)
        found = await reader.read_last(last)
        _print(found, as_json=as_json)
        if not found and not follows:
            echo("no decision yet: `fraudstream status` says what to look at", err=True)
        while follows:
            await asyncio.sleep(_FOLLOW_SECONDS)
            _print(await reader.read_new(), as_json=as_json)


class DecisionTail:
    """Reads the valid decisions of a scan: first the newest ones, then again and again what is new."""

    def __init__(self, scan: TopicScan) -> None:
        self._scan = scan
        self._valid = ValidViews()
        self._next: dict[int, int] = {}

    async def read_last(self, number: int) -> list[DecisionRecord]:
        """Return the newest decisions, so many at most, in the order in which they were written.

        Earlier scores are read as well, since they say which of these are valid.

        Raises:
            aiokafka.errors.KafkaError: the broker does not respond.
        """
        begins, ends = self._scan.first, await self._scan.ends()
        self._next = {one: max(begins[one], end - number - EARLIER_SCORES) for one, end in ends.items()}
        found = [one for one in await self.read_new() if one.offset >= ends[one.partition] - number]
        return found[len(found) - number :] if number < len(found) else found

    async def read_new(self) -> list[DecisionRecord]:
        """Return the decisions that were written since the last call, in that order.

        Raises:
            aiokafka.errors.KafkaError: the broker does not respond.
        """
        found: list[DecisionRecord] = []
        self._scan.start_at(self._next)
        async for records, _share in self._scan.read():
            found += valid_decisions(self._valid, records)
            self._next |= {record.partition: record.offset + 1 for record in records}
        return sorted(found, key=lambda one: one[:3])


def valid_decisions(valid: ValidViews, records: Iterable[FetchedRecord]) -> Iterator[DecisionRecord]:
    """Yield the decisions among the next records of a partition that are valid."""
    values = {record.offset: record.value or b"" for record in records}
    for record, view in valid.of(read_scores(records)):
        yield DecisionRecord(record.timestamp, record.partition, record.offset, view, values[record.offset])


def _print(found: Iterable[DecisionRecord], *, as_json: bool) -> None:
    for one in found:
        if as_json:
            echo_json(msgspec.json.encode(msgspec.json.decode(one.value)))
        else:
            echo(printable(decision_line(one.view)))


def decision_line(view: ScoreView) -> str:
    """Return a decision as one line of text."""
    probability = "no score" if view.score is None else f"{view.score:.4f}"
    decided_by = (
        view.decided_by.value if view.digest is None else f"{view.decided_by.value} {view.digest[:SHORT_DIGEST]}"
    )
    overruled = "" if view.overruled is None else f", overruled by {view.overruled.by}"
    return (
        f"{view.scored_at}  {view.decision.value:<7}  {probability:>8}  {view.transaction_id}  {view.card_id}  "
        f"{money_text(view.currency, view.amount_minor)}  {decided_by}{overruled}  {view.latency_ms} ms"
    )
