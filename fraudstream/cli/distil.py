"""`fraudstream distill`: trains a small model on another one's scores, stores it, and reports what it costs."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from fraudstream.cli.arguments import MomentParam
from fraudstream.cli.extras import needs
from fraudstream.cli.feature_sets import features_or_refuse
from fraudstream.cli.model_registry import key_option
from fraudstream.cli.output import json_option, say
from fraudstream.cli.predictions_option import predictions_option
from fraudstream.cli.progress import bars
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.report_file import report_option, write_report
from fraudstream.cli.repository import existing_repository_or_refuse
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.cli.shadow_verdict import CostParam, CurrencyParam
from fraudstream.cli.signatures import sign_or_refuse, signer_or_refuse
from fraudstream.cli.training_options import sizes_of, student_options
from fraudstream.console import terminal
from fraudstream.lab.distillation.page import state_distillation
from fraudstream.lab.distillation.report import DistillationReport
from fraudstream.lab.distillation.request import (
    DEFAULT_SIZE,
    DistillationRequest,
    NamedTeacher,
    SoftTarget,
    StudentSize,
    parse_sizes,
    parse_teachers,
)
from fraudstream.lab.training.provenance import provenance_here
from fraudstream.ops.report.terminal import on_terminal
from fraudstream.ops.rollout.outcomes.costs import StatedCosts
from fraudstream.terminal import echo
from models.repository import Repository
from stream.clock import now_ms
from stream.code_version import code_version

_Result = TypeVar("_Result")
_Command = TypeVar("_Command", bound=Callable[..., Any])


class TeachersParam(click.ParamType):
    """Reads `3f9a02c1` or `3f9a02c1:2,81d07a5b:1` as models with weights."""

    name = "teacher"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[NamedTeacher, ...]:
        """Return the models, or fail with what was expected."""
        return _parsed(self, parse_teachers, value, param, ctx)


class SizesParam(click.ParamType):
    """Reads `10x4, 30x8, 60x16x12` as sizes of students."""

    name = "sizes"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[StudentSize, ...]:
        """Return the sizes, or fail with what was expected."""
        return _parsed(self, parse_sizes, value, param, ctx)


def _parsed(
    kind: click.ParamType,
    parse: Callable[[str], _Result],
    value: object,
    param: click.Parameter | None,
    ctx: click.Context | None,
) -> _Result:
    try:
        return parse(str(value))
    except ValueError as error:
        kind.fail(str(error), param, ctx)


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option("--name", required=True, help="The student's name in scores and lists."),
    click.option("--version", help="Default: the day of the file's last transaction."),
    click.option("--teacher", "teachers", type=TeachersParam(), multiple=True, metavar="MODEL[:WEIGHT],...",
                 help="The model that teaches, or several: the mean of their scores, by weight. Repeatable."),
    click.option("--scores", type=click.Path(exists=True, dir_okay=False, path_type=Path),
                 help="In place of a teacher, a file of its scores for all payments of FILE, as `score --out` writes."),
    click.option("--scores-until", "scores_until_ms", type=MomentParam(),
                 help="With --scores: the time of the last transaction that their model was trained on."),
    click.option("--trees", type=int, default=DEFAULT_SIZE.trees, show_default=True),
    click.option("--leaves", type=int, default=DEFAULT_SIZE.leaves, show_default=True),
    click.option("--features", type=int, help="Use only so many features, those that gain most. Default: all."),
    click.option("--sizes", type=SizesParam(), metavar="TREESxLEAVES,...",
                 help='Compare students of these sizes, too, e.g. "10x4, 30x8, 60x16x12" (12 features).'),
    click.option("--target", type=click.Choice([one.value for one in SoftTarget]), show_default=True,
                 default=SoftTarget.PROBABILITIES.value,
                 help="What the student learns of the teacher's scores."),
    click.option("--learning-rate", type=float, help="Default: 7.5 divided by the trees, at most 0.3."),
    click.option("--seed", type=int, default=1, show_default=True),
    click.option("--review-share", type=float, default=0.005, show_default=True,
                 help="The alert budget of a teacher without thresholds of its own, at least reviewed."),
    click.option("--decline-share", type=float, default=0.001, show_default=True, help="Likewise, declined."),
    click.option("--currency", type=CurrencyParam(), help="Compare losses in it; by default that of most payments."),
    click.option("--review-cost", "review", type=CostParam(), multiple=True,
                 help="What a review costs, e.g. 'EUR 3.00'; repeat it for each currency."),
    click.option("--decline-cost", "decline", type=CostParam(), multiple=True,
                 help="What a wrong decline costs, e.g. 'EUR 2.00 + 5%' of the amount."),
    click.option("--threads", type=int, default=2, show_default=True, help="Changes the time, not the result."),
)  # fmt: skip


def _distil_options(function: _Command) -> _Command:
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_distil_options
@student_options
@predictions_option
@key_option
@report_option()
@json_option
@needs("train", "duckdb", "sklearn")
def distill(file: Path, page: Path | None, as_json: bool, **options: Any) -> None:  # noqa: ANN401, FBT001 - click's options
    """Train a small model, the student, on the scores that a teacher gives the payments of a transactions FILE.

    The student is stored in the repository, calibrated on labels, with thresholds that flag as many payments as its
    teacher does. The report compares both on the end of the file, which neither was trained on. A teacher that was
    trained on it is refused.
    """
    settings = settings_or_refuse()
    signer = signer_or_refuse(options.pop("key"))
    try:
        request = DistillationRequest(
            file=file,
            sets=features_or_refuse(settings.features),
            code_version=code_version(),
            provenance=provenance_here(),
            **_arguments(options),
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    repository = existing_repository_or_refuse(settings, trusted=True)
    report = _distil(request, repository)
    if signer is not None:
        sign_or_refuse(repository, report.digest, signer)
    stated = state_distillation(report, now_ms())
    if page is not None:
        write_report(page, stated.html)
    if as_json:
        say(as_json, msgspec.to_builtins(report) | stated.facts(), "")
    else:
        for warning in report.warnings:
            echo(f"warning: {warning}", err=True)
        terminal().print(on_terminal(stated))


def _arguments(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a request: sizes, teachers and costs are of several options each."""
    given = dict(options)
    size = StudentSize(given.pop("trees"), given.pop("leaves"), given.pop("features"))
    teachers = tuple(one for named in given.pop("teachers") for one in named)
    costs = StatedCosts(dict(given.pop("review")), dict(given.pop("decline")))
    chosen = {"split": sizes_of(given), "target": SoftTarget(given.pop("target")), "sizes": given.pop("sizes") or ()}
    return given | chosen | {"size": size, "teachers": teachers, "costs": costs}


def _distil(request: DistillationRequest, repository: Repository) -> DistillationReport:
    from fraudstream.lab.distillation.run import distil  # noqa: PLC0415 - it needs the extra `train`

    with Refusals(), bars() as progress:
        return distil(request, repository, progress)
