"""`fraudstream bench worker`: what one worker does, measured from outside by a model of the repository."""

import asyncio
from itertools import islice
from typing import Any

import click

from fraudstream.cli.arguments import ModelParam
from fraudstream.cli.extras import needs
from fraudstream.cli.feature_sets import features_or_refuse
from fraudstream.cli.output import json_option, refuse, say
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.repository import existing_repository_or_refuse
from fraudstream.cli.settings import settings_or_refuse
from models.loading import Model
from models.loading import load as load_model
from models.problems import Problem
from stream.control.probes import probe_vectorisers
from stream.settings import Settings

model_option = click.option(
    "--model",
    "name",
    type=ModelParam(),
    metavar="TEXT",
    required=True,
    help="A digest in the repository, or a prefix of one.",
)


@click.command()
@model_option
@click.option("--backlog", type=click.IntRange(1), default=60_000, show_default=True, help="Records to drain.")
@click.option("--rate", "rates", type=float, multiple=True, default=(100.0, 1000.0), show_default=True)
@click.option("--seconds", type=click.IntRange(1, 600), default=20, show_default=True, help="For each rate.")
@json_option
@needs("train", "duckdb")
def worker(name: str, as_json: bool, **options: Any) -> None:  # noqa: ANN401, FBT001 - click's options
    """Measure throughput from a backlog, latency at fixed rates, memory, and the gaps after a start and a SIGKILL."""
    settings = settings_or_refuse()
    facts = asyncio.run(_measure_worker(settings, model_or_refuse(settings, name).digest, **options))
    say(as_json, facts, "\n".join(f"{fact:36} {value}" for fact, value in facts.items()))


async def _measure_worker(
    settings: Settings, digest: str, backlog: int, rates: tuple[float, ...], seconds: int
) -> dict[str, Any]:
    from fraudstream.bench.payments import payments  # noqa: PLC0415 - it needs an extra
    from fraudstream.bench.worker import (  # noqa: PLC0415 - likewise
        KILL_COUNT,
        WorkerBench,
        measure_backlog,
        measure_kill,
        measure_rate,
        own_names,
    )

    counts = [int(rate * seconds) for rate in rates]
    records = iter(payments(backlog + sum(counts) + KILL_COUNT, seed=2))
    async with WorkerBench(own_names(settings)) as run:
        facts, child = await measure_backlog(run, digest, list(islice(records, backlog)))
        for rate, count in zip(rates, counts, strict=True):
            facts |= await measure_rate(run, list(islice(records, count)), rate)
        return facts | await measure_kill(run, list(records), child)


def model_or_refuse(settings: Settings, name: str) -> Model:
    """Load a model of the repository, or exit with 1 and why it cannot be used."""
    features, repository = features_or_refuse(settings.features), existing_repository_or_refuse(settings)
    with Refusals():
        digest = repository.resolve(name)
    if isinstance(digest, Problem):
        refuse(digest.detail)
    loaded = load_model(repository, digest, probe_vectorisers(features))
    if not isinstance(loaded, Model):
        refuse("\n".join(problem.detail for problem in loaded))
    return loaded
