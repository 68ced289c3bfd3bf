"""`fraudstream predictions publish`: sends a file of predictions to the topic that the workers' features read."""

import asyncio
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

import click

from fraudstream.cli.extras import needs
from fraudstream.cli.feature_sets import features_or_refuse
from fraudstream.cli.lazy import CommandGroup
from fraudstream.cli.model_roles import warn
from fraudstream.cli.output import json_option, say
from fraudstream.cli.publish import sending_bar
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import refused_settings, settings_or_refuse
from fraudstream.lab.dataset.injector import InjectionReport, Injector, ScheduledRecord
from fraudstream.lab.dataset.predictions_file import PredictionsFile
from models.times import format_time
from stream.clock import now_ms
from stream.kafka.client import producer_options, require_topic
from stream.kafka.stray import PlainProducer
from stream.kafka.topics import PREDICTIONS
from stream.settings import PREFIX, Settings


@click.group(cls=CommandGroup)
def predictions() -> None:
    """Publish predictions from storage, of a batch job or of a model that is too slow for the stream."""


@predictions.command("publish")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), help="Records a second; by default as fast as possible."
)
@click.option(
    "--backfill",
    is_flag=True,
    help="Let each count as having come when it was computed: to fill histories before the stream begins.",
)
@json_option
@needs("train", "duckdb")
def publish_command(
    file: Path,
    rate: float | None,
    backfill: bool,  # noqa: FBT001 - a flag
    as_json: bool,  # noqa: FBT001 - a flag
) -> None:
    """Publish a FILE of predictions (parquet, CSV) to the topic `predictions`, each record with its card as key.

    Its columns are card_id, name, value (a number, or nothing), computed_at (with zone) and, optional, model. A
    prediction counts as having come when it is sent: one that comes later than the delay of its feature is late, and no
    payment sees it. Sent again, the same predictions change nothing.
    """
    settings = settings_or_refuse()
    with Refusals(settings):
        asyncio.run(check_topic(settings))
        with (
            tempfile.TemporaryDirectory(prefix="fraudstream-predictions-") as folder,
            PredictionsFile(file, Path(folder), 2) as opened,
            refused_settings(),
        ):
            opened.require_computed(now_ms() + round(settings.future_skew * 1000))
            facts = opened.facts
            done = asyncio.run(send(settings, opened, rate, backfill=backfill))
    seconds = round(done.seconds, 3)
    said = {"sent": done.sent, "cards": facts.cards, "names": list(facts.names), "seconds": seconds}
    said |= {"computed_from": format_time(facts.first_ms), "computed_to": format_time(facts.last_ms)}
    unread_names = unread(settings, facts.names)
    for name in unread_names:
        warn(f"no feature of {PREFIX}FEATURES reads predictions named {name!r}: declare a `prediction`")
    text = (
        f"sent {done.sent} predictions ({', '.join(facts.names)}) about {facts.cards} cards in {done.seconds:.1f} s, "
        f"computed from {said['computed_from']} to {said['computed_to']}"
    )
    say(as_json, said | {"unread": unread_names}, text)


def unread(settings: Settings, names: Collection[str]) -> list[str]:
    """Return the names that no feature of the settings' sets reads."""
    return sorted({*names} - features_or_refuse(settings.features).prediction_delays_ms.keys())


async def check_topic(settings: Settings) -> None:
    """Fail before anything else is done if there is no topic to send to; a broker may make one with its defaults.

    Raises:
        aiokafka.errors.KafkaError: the topic is missing, or the broker does not respond.
    """
    producer = PlainProducer(**producer_options(settings))
    try:
        await producer.start()
        await require_topic(producer, settings.topic(PREDICTIONS.name))
    finally:
        await producer.stop()


async def send(
    settings: Settings, opened: PredictionsFile, rate: float | None = None, *, backfill: bool = False
) -> InjectionReport:
    """Send all predictions of a file, with a progress bar, and wait for their acknowledgements.

    With `backfill` a record's timestamp is when its prediction was computed, so that none is late.

    Raises:
        InjectionError: the broker did not take all of them.
        aiokafka.errors.KafkaError: the broker does not respond.
    """
    producer = PlainProducer(**producer_options(settings))
    try:
        await producer.start()
        with sending_bar("predictions", opened.facts.rows) as progress:
            injector = Injector(producer, rate, lambda _item, _due_ms: None, progress)
            return await injector.run(scheduled(settings.topic(PREDICTIONS.name), opened, backfill=backfill))
    finally:
        await producer.stop()


def scheduled(topic: str, opened: PredictionsFile, *, backfill: bool) -> Iterator[ScheduledRecord]:
    """Yield the records to send, in the order of their computation."""
    for one in opened.records():
        timestamp_ms = one.computed_ms if backfill else None
        yield ScheduledRecord(
            topic, one.key, one.value, PREDICTIONS.name, timestamp_ms=timestamp_ms, has_time_of_sending=not backfill
        )
