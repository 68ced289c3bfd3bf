"""`fraudstream score`: rescores a transactions file or a range of the topic, and lays the report out as tables."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from features.vector.sets import FeatureSets
from fraudstream.cli.arguments import ModelParam, MomentParam, Offsets
from fraudstream.cli.extras import needs
from fraudstream.cli.feature_sets import features_or_refuse
from fraudstream.cli.output import json_option, say
from fraudstream.cli.predictions_option import predictions_option
from fraudstream.cli.progress import bars
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.score_publish import PredictionNameParam, ScoredAs, publish_scores, require_topic_of_predictions
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.console import terminal
from fraudstream.lab.dataset.output import ending_problem
from fraudstream.lab.rescoring.request import (
    DiffReport,
    FileRequest,
    Range,
    ScoreReport,
    TopicRequest,
)
from stream.clock import now_ms
from stream.settings import Settings

_SHORT = 12


def scored(report: ScoreReport) -> RenderableType:
    """Lay out the report of scoring."""
    rows = {"rows": report.rows, **report.fates, **report.decisions}
    return Group(Text(f"model {report.digest}"), _counts("scored", rows))


def compared(report: DiffReport) -> RenderableType:
    """Lay out the report of a comparison."""
    rows = {"compared": report.compared, "equal": report.equal, "explained": report.explained}
    rows["unexplained"] = report.unexplained
    parts: list[RenderableType] = [_counts(f"decisions of {report.deployment}", rows, of=report.compared)]
    if report.silent:
        published = report.compared - report.silent
        parts.append(_counts("made", {"published": published, "silently": report.silent}, of=report.compared))
    if report.reasons:
        parts.append(_counts("explained by", report.reasons, of=report.compared))
    parts.append(_counts("decided by", report.decided_by | {d[:_SHORT]: n for d, n in report.models.items()}))
    if report.overruled:
        parts.append(_counts("overruled afterwards by", report.overruled, of=report.compared))
    not_compared = {"refused, or skipped": report.refused, "repeated": report.repeated, "backfilled": report.backfilled}
    not_compared |= {"transactions without a decision": report.undecided}
    not_compared |= {"decided by another deployment alone": report.elsewhere, "void scores": report.void}
    not_compared |= {"of a log that the topic had before": report.other_logs}
    if any(not_compared.values()):
        parts.append(_counts("not compared", not_compared))
    if report.examples:
        parts.append(_examples(report))
    return Group(*parts)


def _counts(title: str, counts: Mapping[str, int], of: int = 0) -> Table:
    table = Table(title_justify="left", header_style="bold", pad_edge=False, box=None, padding=(0, 3, 0, 0))
    table.add_column(f"\n{title}", min_width=34)
    table.add_column("", justify="right")
    table.add_column("", justify="right")
    for name, count in counts.items():
        style = "bold red" if name == "unexplained" and count else None
        table.add_row(name, f"{count:,}", f"{count / of:.2%}" if of else "", style=style)
    return table


def _examples(report: DiffReport) -> Table:
    table = Table("transaction", "partition", "offset", "recorded, rescored", title_justify="left", box=None)
    for one in report.examples:
        table.add_row(one.transaction_id, str(one.partition), str(one.offset), one.differences)
    return table


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path), required=False)
@click.option("--topic", is_flag=True, help="Score transactions of the topic, in the order in which they were seen.")
@click.option("--diff", is_flag=True, help="With --topic: rescore the recorded decisions, and compare.")
@click.option("--from-time", type=MomentParam(), help="With --topic: records with this timestamp or a later one.")
@click.option("--to-time", type=MomentParam(), help="With --topic: records with an earlier timestamp.")
@click.option(
    "--offsets",
    type=Offsets(),
    multiple=True,
    help="With --topic: transactions 100 to 199 of partition 0 by 0:100-200; repeatable.",
)
@click.option(
    "--model",
    type=ModelParam(),
    metavar="DIGEST",
    help="The model that scores: its digest, or the first 8 digits or more.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The file to write: .parquet, .pq or .csv.",
)
@click.option(
    "--threads", type=click.IntRange(1, 1024), default=lambda: len(os.sched_getaffinity(0)), show_default="all cores"
)
@predictions_option
@click.option(
    "--publish",
    type=PredictionNameParam(),
    metavar="NAME",
    help="Publish each card's last score as the prediction NAME, for features that read it.",
)
@json_option
@needs("train", "duckdb")
def score(file: Path | None, as_json: bool, **options: Any) -> None:  # noqa: ANN401, FBT001 - click's options
    """Rescore a transactions FILE (parquet, CSV), or a range of the topic.

    Each row gets its features at the time of the transaction, its score, its decision and its fate. With --diff the
    recorded decisions of the deployment, published or silent, are compared with the rescored ones; the exit code is 1
    if a difference is unexplained. With --publish the last score of each card goes to the topic of predictions.
    """
    _check_use(file, options)
    settings = settings_or_refuse()
    sets = features_or_refuse(settings.features)
    _check_places(settings, options)
    computed_ms, published = now_ms(), None
    with Refusals(settings):
        with bars() as progress:
            report = _run(settings, sets, file, options, progress)
        if options["publish"] is not None and isinstance(report, ScoreReport):
            about = ScoredAs(options["publish"], computed_ms, report.digest)
            published = publish_scores(settings, options["out"], about)
    if as_json:
        say(as_json, msgspec.to_builtins(report) | ({} if published is None else {"published": published}), "")
    else:
        terminal().print(compared(report) if isinstance(report, DiffReport) else scored(report))
    if published is not None and not as_json:
        terminal().print(f"\npublished {published:,} predictions named {options['publish']}")
    if isinstance(report, DiffReport) and report.unexplained:
        raise SystemExit(1)


def _check_places(settings: Settings, options: Mapping[str, Any]) -> None:
    """Refuse a repository or a topic that cannot be used, before anything is scored."""
    _check_repository(settings, is_needed=not options["diff"])
    if options["publish"] is not None:
        with Refusals(settings):
            require_topic_of_predictions(settings)


def _check_repository(settings: Settings, *, is_needed: bool) -> None:
    """Refuse a repository that cannot be used, or does not exist; decisions by rules are compared without one."""
    from fraudstream.cli.repository import existing_repository_or_refuse, repository_or_refuse  # noqa: PLC0415 - fsspec, late

    if is_needed:
        existing_repository_or_refuse(settings, trusted=True)
    else:
        repository_or_refuse(settings)


def _check_stored(file: Path | None, options: dict[str, Any]) -> None:
    """Refuse options about predictions from storage that have no effect."""
    if file is None and options["predictions"] is not None:
        raise click.UsageError("--predictions is for a FILE: with --topic they are read from their topic")
    if options["diff"] and options["publish"] is not None:
        raise click.UsageError("--publish sends scores, and --diff makes none to send: leave one out")


def _check_use(file: Path | None, options: dict[str, Any]) -> None:
    """Refuse options that contradict each other or have no effect."""
    _check_stored(file, options)
    ranged = [name for name in ("from_time", "to_time", "offsets") if options[name] not in (None, ())]
    if (file is None) is not options["topic"]:
        raise click.UsageError("name a FILE, or --topic: one of the two")
    if file is not None and (options["diff"] or ranged):
        raise click.UsageError(f"--{(ranged or ['diff'])[0].replace('_', '-')} is for --topic")
    if options["offsets"] and len(ranged) > 1:
        raise click.UsageError("--offsets selects the transactions; leave --from-time and --to-time out")
    if options["diff"] is (options["model"] is not None):
        wanted = "leave --model out: each record names its own" if options["diff"] else "name a --model"
        raise click.UsageError(wanted)
    if options["out"] is None and not options["diff"]:
        raise click.UsageError("name the file to write: --out")
    if options["out"] is not None:
        _check_output(file, options["out"])


def _check_output(file: Path | None, out: Path) -> None:
    """Refuse an output file whose ending is not that of a format that is written, or that is the input."""
    problem = ending_problem(out)
    if problem is not None:
        raise click.UsageError(problem)
    if file is not None and file.resolve() == out.resolve():
        raise click.UsageError("--out is the FILE itself: name another file to write")


def _run(
    settings: Settings,
    sets: FeatureSets,
    file: Path | None,
    options: dict[str, Any],
    progress: Any,  # noqa: ANN401 - a function
) -> ScoreReport | DiffReport:
    from fraudstream.lab.rescoring.file_run import score_file  # noqa: PLC0415 - it needs the extra `train`
    from fraudstream.lab.rescoring.topic_run import compare_topic, score_topic  # noqa: PLC0415 - likewise
    from stream.control.trusted_models import ModelPlace  # noqa: PLC0415 - fsspec, late

    out, threads = options["out"], options["threads"]
    if file is not None:
        place = ModelPlace.of(settings)
        request = FileRequest(file, options["model"], out, place, sets, threads, options["predictions"])
        return score_file(request, progress)
    offsets = {partition: (first, end) for partition, first, end in options["offsets"]} or None
    wanted = TopicRequest(settings, Range(options["from_time"], options["to_time"], offsets), out, sets, threads)
    if options["diff"]:
        return compare_topic(wanted, progress)
    return score_topic(wanted, options["model"], progress)
