"""Settings as a command reads them, and what a command says where they or Kafka refuse it."""

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import click

from stream.cli.output import refuse
from stream.errors import SettingsError
from stream.kafka.client import check_tls_files, explain_error
from stream.settings import Settings, read_settings
from stream.telemetry.environment import read as read_telemetry


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


def refuse_kafka(settings: Settings, error: Exception, before: str = "") -> NoReturn:
    """Say what Kafka, or whatever else raised it, means by an error, and end with 1."""
    refuse(before + asyncio.run(explain_error(settings, error)))
