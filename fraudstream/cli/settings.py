"""Reads the settings for a command, and reports invalid settings and errors of Kafka."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from fraudstream.terminal import echo
from stream.errors import SettingsError
from stream.kafka.client import check_tls_files
from stream.key_files import exclude_by_key
from stream.logs import log_to_stderr
from stream.settings import Settings, near_misses, read_settings
from stream.telemetry.environment import read as read_telemetry


def settings_or_refuse() -> Settings:
    """Read the settings; exit with 2 if they are invalid, as for wrong usage, and warn of misspelled variables."""
    for warning in near_misses(os.environ):
        echo(f"warning: {warning}", err=True)
    with refused_settings():
        settings = read_settings(os.environ)
        check_tls_files(settings)
        secrets = settings.secrets() | read_telemetry(os.environ).secrets
    if not logging.root.handlers:
        log_to_stderr(logging.WARNING, "%(message)s", secrets)
    return settings


def settings_for_arms_or_refuse() -> Settings:
    """Read the settings as `settings_or_refuse`, and the hash key by which the excluded cards of a split are known."""
    settings = settings_or_refuse()
    with refused_settings():
        exclude_by_key(settings)
    return settings


@contextmanager
def refused_settings() -> Iterator[None]:
    """Exit with 2 and the message if a setting turns out to be invalid."""
    try:
        yield
    except SettingsError as error:
        echo(str(error), err=True)
        raise SystemExit(2) from error
