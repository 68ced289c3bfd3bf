"""`fraudstream publish`: publishes a transactions file at a fixed rate, however slow the broker and the workers are."""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from aiokafka.structs import RecordMetadata
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TimeRemainingColumn

from stream.cli.extras import needs
from stream.cli.output import json_option, say
from stream.cli.settings import refuse_kafka, refused_settings, settings_or_refuse
from stream.dataset.injector import InjectionReport, Injector, ScheduledRecord
from stream.dataset.records import RecordKind, RecordsFile
from stream.errors import StreamError
from stream.kafka.client import producer_options, require_topic
from stream.kafka.topics import LABELS, TRANSACTIONS
from stream.kafka.tracing import OperationTracing
from stream.settings import Settings
from stream.telemetry.command_line import steps_outside

_SERVICE = "fraudstream-publish"


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), help="Records a second; by default as fast as possible."
)
@click.option("--labels", is_flag=True, help="Send the label columns as label/1, instead of the transactions.")
@json_option
@needs("train", "duckdb")
def publish(file: Path, rate: float | None, labels: bool, as_json: bool) -> None:  # noqa: FBT001 - flags
    """Publish a transactions FILE (parquet, CSV) in the order of time, each record with its card as key.

    The rate does not depend on the broker: a record that is sent late carries the time at which it was due. With
    --labels, labels are sent in the order in which they became known.
    """
    settings = settings_or_refuse()
    kind = RecordKind.LABEL if labels else RecordKind.TRANSACTION
    try:
        asyncio.run(_check_topic(settings, kind))
        with tempfile.TemporaryDirectory(prefix="fraudstream-publish-") as workplace:
            source = RecordsFile(file, Path(workplace), needs_labels=labels)
            with refused_settings():
                done = asyncio.run(_publish(settings, source, kind, rate))
    except (StreamError, KafkaError, OSError) as error:
        refuse_kafka(settings, error)
    facts = {"sent": done.sent, "seconds": round(done.seconds, 3), "rate": round(done.sent / done.seconds, 1)}
    facts["worst_lag_ms"] = done.worst_lag_ms
    rate_text = f"{done.seconds:.1f} s, {facts['rate']} a second, at most {done.worst_lag_ms} ms late"
    say(as_json, facts, f"sent {done.sent} {kind}s in {rate_text}")


def _topic(kind: RecordKind) -> str:
    return LABELS.name if kind is RecordKind.LABEL else TRANSACTIONS.name


async def _check_topic(settings: Settings, kind: RecordKind) -> None:
    """Fail before the file is read, which may take minutes, if there is no topic to send to."""
    producer = AIOKafkaProducer(**producer_options(settings))
    try:
        await producer.start()
        await require_topic(producer, settings.topic(_topic(kind)))
    finally:
        await producer.stop()


async def _publish(settings: Settings, source: RecordsFile, kind: RecordKind, rate: float | None) -> InjectionReport:
    async with steps_outside(settings, _SERVICE) as operations:
        return await _send(settings, source, kind, rate, operations)


async def _send(
    settings: Settings, source: RecordsFile, kind: RecordKind, rate: float | None, operations: OperationTracing
) -> InjectionReport:
    name = _topic(kind)
    topic = settings.topic(name)
    producer = AIOKafkaProducer(**producer_options(settings))
    try:
        await producer.start()
        with _bar(source.count(kind)) as progress:
            injector = Injector(
                producer, rate, lambda _item, _due_ms: None, progress, lambda _item: operations.begin(f"send {name}")
            )
            return await injector.run(ScheduledRecord(topic, key, value, "") for key, value in source.records(kind))
    finally:
        await producer.stop()


class _Counter:
    """Advances the progress bar for each acknowledged record."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._task = progress.add_task("publish", total=total)

    def __call__(self, _item: ScheduledRecord, _place: RecordMetadata) -> None:
        self._progress.advance(self._task)


@contextmanager
def _bar(total: int) -> Iterator[_Counter]:
    """Show a progress bar on standard error if that is a terminal."""
    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield _Counter(progress, total)
