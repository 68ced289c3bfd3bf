"""Reads and prints the report of `fraudstream model watch`."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from fraudstream.cli.output import refuse, say
from fraudstream.cli.progress import ReadingProgress
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.report_file import write_report
from fraudstream.cli.repository import existing_repository_or_refuse
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.console import terminal
from fraudstream.ops.report.terminal import on_terminal
from fraudstream.ops.rollout.outcomes.maturity import DAY_MS
from fraudstream.ops.watch.drift.facts import facts
from fraudstream.ops.watch.drift.page import state_watch
from fraudstream.ops.watch.drift.report import WatchReport, WatchScope, read_watch
from fraudstream.ops.watch.drift.terms import DriftTerms
from models.problems import Problem
from models.repository import Repository
from stream.clock import now_ms
from stream.code_version import code_version
from stream.settings import Settings

DAYS = 70
"""So many days are read by default: ten weeks, so that some of them have matured."""


def print_watch(options: Mapping[str, Any], page: Path | None, *, as_json: bool) -> None:
    """Print a report, and exit with 1 if an alarm goes on at its end."""
    settings = settings_or_refuse()
    until_ms = now_ms() if options["until_ms"] is None else options["until_ms"]
    since_ms = max(until_ms - DAYS * DAY_MS, 0) if options["since_ms"] is None else options["since_ms"]
    if since_ms >= until_ms:
        raise click.UsageError("--from must be before --to")
    repository = existing_repository_or_refuse(settings)
    model = "" if options["digest"] is None else _digest_or_refuse(repository, options["digest"])
    found = _read_or_refuse(settings, WatchScope(since_ms, until_ms, model, options["maturity_days"]), repository)
    stated = state_watch(found, now_ms(), code_version())
    if page is not None:
        write_report(page, stated.html)
    if as_json:
        say(as_json, facts(found) | stated.facts(), "")
    else:
        terminal().print(on_terminal(stated))
    if not found.is_quiet:
        raise SystemExit(1)


def _digest_or_refuse(repository: Repository, name: str) -> str:
    with Refusals():
        digest = repository.resolve(name)
    if isinstance(digest, Problem):
        refuse(f"{digest.detail}; `fraudstream model list` lists the models")
    return digest


def _read_or_refuse(settings: Settings, scope: WatchScope, repository: Repository) -> WatchReport:
    with Refusals(settings):
        return asyncio.run(read_watch(settings, scope, DriftTerms(), repository, ReadingProgress().show))
