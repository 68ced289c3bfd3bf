"""How commands speak: JSON on standard output where asked for, everything else for people.

How far a long command is: a bar for each of its stages, on standard error.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from features.errors import DeclarationError
from features.vector.sets import FeatureSets, load_sets
from stream.errors import SettingsError
from stream.kafka.client import check_tls_files, explain_error
from stream.settings import Settings, read_settings
from stream.telemetry.environment import read as read_telemetry

Command = TypeVar("Command", bound=Callable[..., Any])

json_option: Callable[[Command], Command] = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object; everything else goes to standard error."
)


@contextmanager
def bars() -> Iterator[Callable[[str, int, int], None]]:
    """Yield a function that is told a stage, how much of it is done, and of how much."""
    columns = (TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as shown:
        stages: dict[str, TaskID] = {}

        def progress(stage: str, done: int, total: int) -> None:
            if stage not in stages:
                stages[stage] = shown.add_task(stage)
            shown.update(stages[stage], completed=done, total=total)

        yield progress


def say(as_json: bool, facts: Mapping[str, Any], text: str) -> None:  # noqa: FBT001 - it is the flag itself
    """Print the facts as one JSON object, or the text for a person."""
    click.echo(msgspec.json.encode(facts).decode() if as_json else text)


def refuse(message: str) -> NoReturn:
    """Say what is wrong on standard error and end with 1: refused, or found wanting."""
    click.echo(message, err=True)
    raise SystemExit(1)


def refuse_kafka(settings: Settings, error: Exception, before: str = "") -> NoReturn:
    """Say what Kafka, or whatever else raised it, means by an error, and end with 1."""
    refuse(before + asyncio.run(explain_error(settings, error)))


def settings_or_refuse() -> Settings:
    """Read the settings, or end with 2: they are how a command is used."""
    with refused_settings():
        settings = read_settings(os.environ)
        check_tls_files(settings)
        read_telemetry(os.environ)
    return settings


@contextmanager
def refused_settings() -> Iterator[None]:
    """End with 2, and say why, where a setting turns out to be unusable."""
    try:
        yield
    except SettingsError as error:
        click.echo(str(error), err=True)
        raise SystemExit(2) from error


def features_or_refuse(modules: str) -> FeatureSets:
    """Load the tables of features that a setting names, or end with 2: it is a setting like any other."""
    try:
        return load_sets(modules)
    except DeclarationError as error:
        click.echo(str(error), err=True)
        raise SystemExit(2) from error
