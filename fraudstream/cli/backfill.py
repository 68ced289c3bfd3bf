"""`fraudstream backfill`: fills histories from the past before the stream begins, and waits until that is applied."""

import asyncio
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import click
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import MessageSizeTooLargeError

from fraudstream.cli.arguments import MomentParam
from fraudstream.cli.extras import needs
from fraudstream.cli.feature_sets import features_or_refuse
from fraudstream.cli.output import json_option, refuse, say
from fraudstream.cli.progress import bars
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import refused_settings, settings_or_refuse
from fraudstream.lab.dataset.backfill import (
    QUIET_SECONDS,
    BackfillWriter,
    CardPlaces,
    Progress,
    WrittenRecords,
    find_written,
    partitions_to_fill,
    require_past,
    watch_applied,
)
from fraudstream.lab.dataset.backfill_sources import BackfillSource, FilesSource, LeftOut, TopicsSource, read_topics
from fraudstream.lab.dataset.records import RecordKind
from fraudstream.lab.dataset.too_large import SizeFilter, explain_refusal, read_limits
from fraudstream.ops.repair.partitioners import HASHES
from fraudstream.terminal import echo
from models.times import format_time
from stream.clock import now_ms
from stream.engine.publisher import Publisher
from stream.errors import PublishError
from stream.kafka.client import open_admin
from stream.kafka.topics import LABELS, TRANSACTIONS
from stream.settings import Settings

_RUN_AGAIN = "run the same command again: it goes on where this one ended"


class BackfillRequest(NamedTuple):
    """Where payments and labels come from, until when, how they are placed and how fast, and whether to wait."""

    files: tuple[Path, ...]
    topics: Mapping[RecordKind, str]
    until_ms: int | None
    partitioner: str
    rate: float | None
    wait: bool


class BackfillReport(NamedTuple):
    """What was done: the seconds of writing, and of waiting after that (None: not waited)."""

    source: BackfillSource
    backfill: str
    sent: int
    too_large: SizeFilter
    write_s: float
    apply_s: float | None

    def facts(self) -> dict[str, Any]:
        """Return it as one object."""
        payments, labels = (self.source.count(kind) for kind in (RecordKind.TRANSACTION, RecordKind.LABEL))
        left_out = {one.code: one.records for one in self._left_out()}
        too_large = self.too_large.counts.total()
        return {
            "backfill": self.backfill,
            "payments": payments,
            "labels": labels,
            "last": format_time(self.source.last_ms),
            "written": self.sent,
            "found": payments + labels - self.sent - too_large,
            "write_seconds": round(self.write_s, 3),
            "apply_seconds": None if self.apply_s is None else round(self.apply_s, 3),
            "left_out": left_out | ({"too_large": too_large} if too_large else {}),
            "too_large": self.too_large.named,
        }

    def _left_out(self) -> Sequence[LeftOut]:
        return self.source.left_out if isinstance(self.source, TopicsSource) else ()

    def text(self) -> str:
        """Return it as text."""
        facts = self.facts()
        rate = facts["written"] / max(self.write_s, 1e-3)
        lines = ["{payments:,} payments and {labels:,} labels, the last payment of {last}".format_map(facts)]
        if self.sent:
            lines.append(f"written: {self.sent:,} records in {self.write_s:.1f} s, {rate:.1f} a second")
        if facts["found"]:
            lines.append(f"found on the topics already: {facts['found']:,}")
        lines += [f"left out: {one.records:,} {one.code}, the first at {one.first}" for one in self._left_out()]
        applied = "not waited for" if self.apply_s is None else f"by the workers, {self.apply_s:.1f} s later"
        return "\n".join([*lines, f"applied: {applied}"])


@click.command()
@click.argument("files", nargs=-1, type=click.Path(exists=True, dir_okay=False, path_type=Path), metavar="[FILE]...")
@click.option("--topic", metavar="TOPIC", help="Instead of files: a topic of yours with transaction/1.")
@click.option("--labels-topic", metavar="TOPIC", help="With --topic: a topic of yours with label/1.")
@click.option("--until", type=MomentParam(), help="Leave out payments and labels of this time or later.")
@click.option(
    "--partitioner",
    type=click.Choice(list(HASHES)),
    default="murmur2",
    show_default=True,
    help="By which your producers choose a card's partition: murmur2 as Java's client, crc32 as librdkafka.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0, min_open=True),
    help="Records a second, at most; by default as fast as possible.",
)
@click.option(
    "--wait/--no-wait", default=True, show_default=True, help="Wait until the workers have applied all of it."
)
@json_option
@needs("train", "duckdb")
def backfill(files: tuple[Path, ...], as_json: bool, **options: Any) -> None:  # noqa: ANN401, FBT001 - click's options
    """Fill the histories with past payments and their labels, from FILEs (parquet, CSV) or from topics of yours.

    They go to the topics, interleaved by time and marked, so that workers apply them and decide none. All of them must
    be earlier than the stream: a payment sent later under the same id is repeated. A backfill that was cut off goes on
    where it ended when the same command is run again. Records that are too large for their topic are left out and
    named, and the command then ends with 1.
    """
    request = _request(files, options)
    settings = settings_or_refuse()
    _require_other_topics(settings, request.topics)
    with Refusals(settings):
        try:
            with tempfile.TemporaryDirectory(prefix="fraudstream-backfill-") as folder, refused_settings():
                done = asyncio.run(_fill(settings, request, Path(folder)))
        except PublishError as error:
            if isinstance(error.__cause__, MessageSizeTooLargeError):
                refuse(explain_refusal(settings))
            refuse(f"{_RUN_AGAIN}. {error}")
    say(as_json, done.facts(), done.text())
    if done.too_large.counts:
        refuse(f"{done.too_large.counts.total():,} records were left out, as said above")


def _request(files: tuple[Path, ...], options: dict[str, Any]) -> BackfillRequest:
    """Return what is asked for; refuse options that contradict each other or have no effect."""
    topic, labels = options["topic"], options["labels_topic"]
    if bool(files) is (topic is not None):
        raise click.UsageError("name FILEs, or a --topic: one of the two")
    if labels is not None and topic is None:
        raise click.UsageError("--labels-topic is for --topic; a file's labels are its column fraud")
    topics = {RecordKind.TRANSACTION: topic, RecordKind.LABEL: labels}
    named = {kind: name for kind, name in topics.items() if name is not None}
    return BackfillRequest(files, named, options["until"], options["partitioner"], options["rate"], options["wait"])


def _require_other_topics(settings: Settings, topics: Mapping[RecordKind, str]) -> None:
    """Refuse the topics that are written to, as sources."""
    own = {settings.topic(layout.name) for layout in (TRANSACTIONS, LABELS)}
    for name in topics.values():
        if name in own:
            raise click.UsageError(f"{name} is the topic that is filled: name another one to read from")


async def _fill(settings: Settings, request: BackfillRequest, folder: Path) -> BackfillReport:
    """Read the source, check it, write it and wait.

    Raises:
        StreamError: the source cannot be used, or not everything was acknowledged.
        aiokafka.errors.KafkaError: the brokers do not respond.
    """
    async with open_admin(settings) as admin:
        partitions = await partitions_to_fill(settings, admin)  # first, since files take minutes
        places = CardPlaces(partitions, request.partitioner, await read_limits(settings, admin))
        source = await _source(settings, request, folder)
        require_past(source, now_ms() + round(settings.future_skew * 1000))
        with bars() as progress:
            written, live = await find_written(settings, source, places.backfill_of(source), progress)
            if live and not written.numbers:
                echo(_warning(live, request.rate), err=True)
            (sent, too_large), write_s = await _write(settings, source, (places, written), progress, request.rate)
            if too_large.counts:
                echo("\n".join(too_large.lines()), err=True)
            began = time.monotonic()
            if request.wait:
                await _wait(settings, admin, written, progress)
        apply_s = time.monotonic() - began if request.wait else None
        return BackfillReport(source, places.backfill_of(source), sent, too_large, write_s, apply_s)


def _warning(live: int, rate: float | None) -> str:
    """Warn that the stream has begun, and say what its payments wait for."""
    wait = (
        "press Ctrl-C and give --rate, lower than what the workers apply in a second, to keep that short"
        if rate is None
        else f"with --rate {rate:g} that is short if the workers apply more in a second than these and the stream's own"
    )
    payments = "1 payment" if live == 1 else f"{live:,} payments"
    return (
        f"warning: the stream has begun ({payments} to decide on the topic, or decided): decisions until now have not "
        "seen what is filled in, and a payment that arrives meanwhile waits until the workers have applied what lies "
        f"before it; {wait}"
    )


async def _source(settings: Settings, request: BackfillRequest, folder: Path) -> BackfillSource:
    if request.topics:
        return await read_topics(settings, request.topics, folder, request.until_ms)
    return FilesSource(request.files, folder, request.until_ms, features_or_refuse(settings.features).fields)


async def _write(
    settings: Settings,
    source: BackfillSource,
    where: tuple[CardPlaces, WrittenRecords],
    progress: Progress,
    rate: float | None,
) -> tuple[tuple[int, SizeFilter], float]:
    publisher = Publisher(settings)
    writer = BackfillWriter(settings, publisher, *where)
    began = time.monotonic()
    try:
        await publisher.start()
        sent = await writer.write(source, progress, rate)
    finally:
        await publisher.stop()
    return (sent, writer.too_large), time.monotonic() - began


async def _wait(settings: Settings, admin: AIOKafkaAdminClient, written: WrittenRecords, progress: Progress) -> None:
    """Wait until the workers have applied what was written; say once what may be wrong if nothing happens."""
    said = False
    async for seen in watch_applied(settings, admin, written.ends):
        progress("apply", seen.applied, seen.total)
        if seen.quiet_s >= QUIET_SECONDS and not said:
            said = True
            echo(
                f"nothing has been applied for {QUIET_SECONDS:.0f} s: workers of group {settings.group} must run, with "
                "a live model and complete histories; their /health/ready says what they wait for. All that "
                f"was not left out is written: if you press Ctrl-C, nothing is lost, and to wait on, {_RUN_AGAIN}",
                err=True,
            )
