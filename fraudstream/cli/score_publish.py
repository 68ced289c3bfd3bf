"""`fraudstream score … --publish NAME`: the last score of each card becomes a prediction from storage."""

import asyncio
import tempfile
from pathlib import Path
from typing import NamedTuple

import click
import msgspec

from fraudstream.cli.predictions import check_topic, send
from fraudstream.cli.settings import refused_settings
from fraudstream.lab.dataset.database import connect_memory, quoted
from fraudstream.lab.dataset.input_table import source_of
from fraudstream.lab.dataset.predictions_file import PredictionsFile
from fraudstream_client.field_types import FORM_OF_TOKENS
from models.commands import Token
from models.times import format_time
from stream.settings import Settings

_MEMORY_MB = 512
_LAST_SCORES = """
COPY (
    SELECT card_id, {name} AS name, CAST(score AS DOUBLE) AS value, {computed_at} AS computed_at, {model} AS model
    FROM (SELECT *, row_number() OVER () AS place FROM {source})
    WHERE fate = 'decide' AND isfinite(CAST(score AS DOUBLE))
    QUALIFY row_number() OVER (PARTITION BY card_id ORDER BY place DESC) = 1
    ORDER BY card_id
) TO {target} (FORMAT parquet)
"""


class PredictionNameParam(click.ParamType):
    """Reads the name of a prediction."""

    name = "name"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the name, or fail with what was expected."""
        try:
            return msgspec.convert(value, Token)
        except msgspec.ValidationError:
            self.fail(f"{str(value)[:80]!r} cannot be a prediction's name: {FORM_OF_TOKENS}", param, ctx)


class ScoredAs(NamedTuple):
    """Under which name scores are published, when they were computed, and by which model."""

    name: str
    computed_ms: int
    digest: str


def require_topic_of_predictions(settings: Settings) -> None:
    """Fail if there is no topic to publish to.

    Raises:
        aiokafka.errors.KafkaError: the topic is missing, or the broker does not respond.
    """
    with refused_settings():
        asyncio.run(check_topic(settings))


def publish_scores(settings: Settings, scored: Path, about: ScoredAs) -> int:
    """Publish the last score of each card in the output of `score`, and return how many these are.

    Raises:
        FileError: the output has no score.
        InjectionError: the broker did not take all of them.
        aiokafka.errors.KafkaError: the broker does not respond.
    """
    with tempfile.TemporaryDirectory(prefix="fraudstream-score-") as name:
        folder = Path(name)
        target = write_last_scores(scored, about, folder)
        with PredictionsFile(target, folder, 2) as opened, refused_settings():
            return asyncio.run(send(settings, opened)).sent


def write_last_scores(scored: Path, about: ScoredAs, folder: Path) -> Path:
    """Write the last score of each card as a file of predictions in a folder, and return it."""
    target = folder / "last-scores.parquet"
    with connect_memory(folder, _MEMORY_MB) as connection:
        connection.execute(
            _LAST_SCORES.format(
                name=quoted(about.name),
                computed_at=quoted(format_time(about.computed_ms)),
                model=quoted(about.digest),
                source=source_of(scored, from_output=True),
                target=quoted(target),
            )
        )
    return target
