"""`fraudstream evaluate`: measures a model on payments that it was not trained on, or two models on the same ones."""

import os
from pathlib import Path
from typing import Any

import click

from fraudstream.cli.arguments import ModelParam, MomentParam
from fraudstream.cli.cost_options import decision_cost_options, stated_costs
from fraudstream.cli.extras import needs
from fraudstream.cli.feature_sets import features_or_refuse
from fraudstream.cli.output import json_option, say
from fraudstream.cli.predictions_option import predictions_option
from fraudstream.cli.progress import bars
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.report_file import report_option, write_report
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.console import terminal
from fraudstream.lab.evaluation.page import state_evaluation
from fraudstream.lab.evaluation.report import EvaluationReport
from fraudstream.lab.evaluation.request import (
    BUDGETS,
    DRAWS,
    EvaluatedPeriod,
    EvaluationRequest,
    EvaluationTerms,
)
from fraudstream.ops.report.terminal import on_terminal
from fraudstream.terminal import echo
from stream.clock import now_ms


@click.command()
@click.argument("model", type=ModelParam(), metavar="MODEL")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--against", type=ModelParam(), metavar="MODEL", help="Compare with it, paired on the same payments.")
@click.option(
    "--since",
    "since_ms",
    type=MomentParam(),
    help="Payments from then on; by default those after the training of both models.",
)
@click.option("--until", "until_ms", type=MomentParam(), help="Payments before then; by default to the file's end.")
@click.option(
    "--use-training-rows", is_flag=True, help="Let payments count that a model was trained on; they are not held back."
)
@click.option(
    "--maturity-days",
    type=click.FloatRange(0),
    help="Payments so much older than the last count, as genuine without a label; by default all with a label.",
)
@click.option(
    "--budget",
    "budgets",
    type=click.IntRange(1),
    multiple=True,
    default=BUDGETS,
    show_default=True,
    help="Alerts a day, of which precision and recall are stated; repeatable.",
)
@click.option(
    "--k",
    "cards_a_day",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="Cards that are investigated each day, for card precision.",
)
@click.option(
    "--segment",
    "segments",
    metavar="FIELD",
    multiple=True,
    help="A category of payments, declared or of the contract, such as mcc, by which all is stated; repeatable.",
)
@decision_cost_options
@click.option("--draws", type=click.IntRange(1), default=DRAWS, show_default=True, help="Of cards, for the intervals.")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="The same seed, the same report.")
@click.option(
    "--threads", type=click.IntRange(1, 1024), default=lambda: len(os.sched_getaffinity(0)), show_default="all cores"
)
@predictions_option
@report_option()
@json_option
@needs("train", "duckdb", "sklearn")
def evaluate(model: str, file: Path, page: Path | None, as_json: bool, **options: Any) -> None:  # noqa: ANN401, FBT001 - click's options
    """Evaluate MODEL on the payments of a transactions FILE (parquet, CSV) that it was not trained on.

    Ranking, alerts by its policy and at budgets, money, calibration, by week and by segment, and what its features
    mean and how far they moved, each with an interval by card. With --against, two models are compared on the same
    payments. Give the file the days before those that count: histories come from them.
    """
    with Refusals():
        request = _request(model, file, options)
    report = _evaluate(request)
    stated = state_evaluation(report)
    if page is not None:
        write_report(page, stated.html)
    for warning in report.warnings:
        echo(f"warning: {warning}", err=True)
    if as_json:
        say(as_json, report.facts() | stated.facts(), "")
        return
    terminal().print(on_terminal(stated))


def _request(model: str, file: Path, options: dict[str, Any]) -> EvaluationRequest:
    from fraudstream.cli.repository import existing_repository_or_refuse  # noqa: PLC0415 - fsspec, late
    from stream.control.trusted_models import ModelPlace  # noqa: PLC0415 - likewise

    settings = settings_or_refuse()
    existing_repository_or_refuse(settings, trusted=True)
    terms = EvaluationTerms(
        budgets=tuple(sorted(set(options["budgets"]))),
        cards_a_day=options["cards_a_day"],
        costs=stated_costs(options),
        draws=options["draws"],
        seed=options["seed"],
    )
    period = EvaluatedPeriod(
        options["since_ms"], options["until_ms"], options["use_training_rows"], options["maturity_days"]
    )
    return EvaluationRequest(
        file=file,
        models=ModelPlace.of(settings),
        model=model,
        against=options["against"],
        sets=features_or_refuse(settings.features),
        made_ms=now_ms(),
        period=period,
        terms=terms,
        threads=options["threads"],
        predictions=options["predictions"],
        segments=tuple(dict.fromkeys(options["segments"])),
    )


def _evaluate(request: EvaluationRequest) -> EvaluationReport:
    from fraudstream.lab.evaluation.run import evaluate as run  # noqa: PLC0415 - it needs the extra `train`

    with Refusals(), bars() as progress:
        return run(request, progress)
