"""`fraudstream model policy`: makes a model of another one, with another policy or other rules, without training."""

from typing import Any

import click
import msgspec
from rich.table import Table

from fraudstream.cli.feature_sets import features_or_refuse
from fraudstream.cli.output import say
from fraudstream.cli.policy_options import policy_wish
from fraudstream.cli.policy_text import policy_lines
from fraudstream.cli.progress import bars
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.repository import trusted_repository_or_refuse
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.console import terminal
from fraudstream.lab.training.policy_facts import PolicyReport
from fraudstream.lab.training.policy_run import PolicyRequest, derive
from models.repository import Repository
from stream.settings import Settings


def make_policy(model: str, options: dict[str, Any], *, as_json: bool) -> None:
    """Store a model with another policy; exit with 1 if it cannot have that, and with 2 for options that cannot be."""
    settings, wish = settings_or_refuse(), policy_wish(options)
    try:
        request = PolicyRequest(model=model, policy=wish, **options)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    report = _derive(request, settings, trusted_repository_or_refuse(settings))
    say(as_json, msgspec.to_builtins(report), "") if as_json else _print(report)


def _derive(request: PolicyRequest, settings: Settings, repository: Repository) -> PolicyReport:
    with Refusals(), bars() as progress:
        return derive(request, features_or_refuse(settings.features), repository, progress)


def _print(report: PolicyReport) -> None:
    table = Table(title=f"{report.name} {report.version}", show_header=False, title_justify="left")
    table.add_row("digest", report.digest)
    table.add_row("parent", report.parent)
    for name, text in policy_lines(report.policy):
        table.add_row(name, text)
    terminal().print(table)
