"""`fraudstream publish`: publishes a transactions file at a fixed rate, however slow the broker and the workers are."""

import asyncio
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click
from aiokafka.structs import RecordMetadata
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TimeRemainingColumn

from fraudstream.cli.extras import needs
from fraudstream.cli.feature_sets import features_or_refuse
from fraudstream.cli.output import dropped_text, json_option, refuse, say
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import refused_settings, settings_or_refuse
from fraudstream.console import terminal
from fraudstream.lab.dataset.injector import InjectionReport, Injector, ScheduledRecord
from fraudstream.lab.dataset.records import RecordKind, RecordsDatabase, TimedRecord
from fraudstream.lab.dataset.too_large import SizeFilter, TopicLimit, read_limits
from fraudstream.terminal import echo
from models.times import format_time
from stream.clock import now_ms
from stream.engine.tracing import OperationTracing
from stream.kafka.client import open_admin, producer_options, require_topic
from stream.kafka.stray import PlainProducer
from stream.kafka.topics import LABELS, TRANSACTIONS
from stream.settings import Settings
from stream.telemetry.command_line import steps_outside

_SERVICE = "fraudstream-publish"


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), help="Records a second; by default as fast as possible."
)
@click.option("--labels", is_flag=True, help="Send the label columns as label/1, instead of the transactions.")
@click.option(
    "--labels-from",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Send the labels of a file between the transactions, each when its labelled_at is reached.",
)
@json_option
@needs("train", "duckdb")
def publish(*, file: Path, rate: float | None, labels: bool, labels_from: Path | None, as_json: bool) -> None:
    """Publish a transactions FILE (parquet, CSV) in the order of time, each record with its card as key.

    The rate does not depend on the broker: a record that is sent late carries the time at which it was due. With
    --labels, labels are sent in the order in which they became known. With --labels-from, the labels that became known
    by the last transaction are sent too, and do not count in the rate. Records that are too large for their topic are
    left out and named, and the command then ends with 1.
    """
    if labels and labels_from is not None:
        raise click.UsageError("--labels sends no transactions, between which --labels-from could send labels")
    settings = settings_or_refuse()
    declared = features_or_refuse(settings.features).fields
    kinds, begun_ms = _kinds(labels=labels, labels_from=labels_from), now_ms()
    with Refusals(settings):
        too_large = SizeFilter(asyncio.run(_check_topics(settings, kinds)), settings.compression)
        with tempfile.TemporaryDirectory(prefix="fraudstream-publish-") as workplace:
            playlist = _playlist(file, labels_from, kinds, RecordsDatabase(Path(workplace), declared))
            with refused_settings():
                done = asyncio.run(_publish(settings, playlist, rate, too_large))
    facts = {"sent": done.sent, "seconds": round(done.seconds, 3), "rate": round(done.sent / done.seconds, 1)}
    facts["worst_lag_ms"] = done.worst_lag_ms
    rate_text = f"{done.seconds:.1f} s, {facts['rate']} a second, at most {done.worst_lag_ms} ms late"
    counts = {f"{kind}s": count - too_large.counts[kind] for kind, count in playlist.counts.items()}
    what = " and ".join(f"{count} {name.removesuffix('s') if count == 1 else name}" for name, count in counts.items())
    facts |= counts | {"too_large": too_large.counts.total()}
    say(as_json, facts, f"sent {what} in {rate_text}")
    if not as_json and RecordKind.TRANSACTION in kinds:
        letters = f"`fraudstream dead-letters list --since {format_time(begun_ms)}`"
        echo(f"each gets a decision (`fraudstream decisions`), or is refused ({letters})", err=True)
    if too_large.counts:
        refuse("\n".join(too_large.lines()))


class _Playlist(NamedTuple):
    """The records to send, in order, and how many there are of each kind."""

    records: Iterator[TimedRecord]
    counts: Mapping[RecordKind, int]


def _kinds(*, labels: bool, labels_from: Path | None) -> tuple[RecordKind, ...]:
    if labels:
        return (RecordKind.LABEL,)
    return (RecordKind.TRANSACTION,) if labels_from is None else (RecordKind.TRANSACTION, RecordKind.LABEL)


def _playlist(
    file: Path, labels_from: Path | None, kinds: tuple[RecordKind, ...], database: RecordsDatabase
) -> _Playlist:
    """Read the files; of `labels_from` the labels that are known by the last transaction.

    Raises:
        FileError: a file cannot be used.
    """
    database.add(file, kinds[:1])
    if labels_from is not None:
        database.add(labels_from, (RecordKind.LABEL,), until_ms=database.last_ms + 1)
    if database.dropped:
        echo(f"warning: workers will read as absent what is not valid: {dropped_text(database.dropped)}", err=True)
    return _Playlist(database.records(), {kind: database.count(kind) for kind in kinds})


def _topic(kind: RecordKind) -> str:
    return LABELS.name if kind is RecordKind.LABEL else TRANSACTIONS.name


async def _check_topics(settings: Settings, kinds: Iterable[RecordKind]) -> Mapping[RecordKind, TopicLimit]:
    """Fail before the files are read, which may take minutes, if there is no topic to send to; return the limits."""
    producer = PlainProducer(**producer_options(settings))
    try:
        await producer.start()
        for kind in kinds:
            await require_topic(producer, settings.topic(_topic(kind)))
    finally:
        await producer.stop()
    async with open_admin(settings) as admin:
        return await read_limits(settings, admin)


async def _publish(
    settings: Settings, playlist: _Playlist, rate: float | None, too_large: SizeFilter
) -> InjectionReport:
    fitting = playlist._replace(records=filter(too_large.passes, playlist.records))
    async with steps_outside(settings, _SERVICE) as operations:
        return await _send(settings, fitting, rate, operations)


async def _send(
    settings: Settings, playlist: _Playlist, rate: float | None, operations: OperationTracing
) -> InjectionReport:
    producer = PlainProducer(**producer_options(settings))
    try:
        await producer.start()
        with sending_bar("publish", sum(playlist.counts.values())) as progress:
            injector = Injector(
                producer,
                rate,
                lambda _scheduled, _due_ms: None,
                progress,
                lambda item: operations.begin(f"send {item.name}"),
            )
            return await injector.run(_scheduled(settings, playlist))
    finally:
        await producer.stop()


def _scheduled(settings: Settings, playlist: _Playlist) -> Iterator[ScheduledRecord]:
    """Yield the records to send, named by the topic of the contract; labels between transactions take no time."""
    topics = {kind: (settings.topic(_topic(kind)), _topic(kind)) for kind in playlist.counts}
    for record in playlist.records:
        topic, name = topics[record.kind]
        beside = record.kind is RecordKind.LABEL and RecordKind.TRANSACTION in topics
        yield ScheduledRecord(topic, record.key, record.value, name, shares_slot=beside)


class SentCounter:
    """Advances the progress bar for each acknowledged record."""

    def __init__(self, progress: Progress, name: str, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task(name, total=total)

    def __call__(self, _scheduled: ScheduledRecord, _place: RecordMetadata) -> None:
        """Count one record."""
        self._progress.advance(self._task)


@contextmanager
def sending_bar(name: str, total: int) -> Iterator[SentCounter]:
    """Show a progress bar on standard error if that is a terminal."""
    console = terminal(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield SentCounter(progress, name, total)
