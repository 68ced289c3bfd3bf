"""What the report of an experiment says when somebody ends it: shown, and kept with the command, never required."""

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from aiokafka.errors import KafkaError

from fraudstream.cli.settings import settings_for_arms_or_refuse
from fraudstream.terminal import echo
from fraudstream_client.arms import LIVE
from guards.errors import OtherHashKeyError
from stream.errors import ControlLogError, ReportError
from stream.kafka.client import explain_error
from stream.settings import Settings

_SECONDS = 60.0
"""A command does not wait longer for the report."""
_KEPT = ("experiment", "as_of", "winner", "currency", "terms", "sample_ratio", "cards", "standings")
"""The fields that are kept as evidence, which has room for 16 kB."""


def grounds_of(winner: str, file: Path | None) -> dict[str, Any] | None:
    """Say on standard error what the report says of a winner; return what is kept of it, or None if there is none."""
    if file is not None:
        return _grounds(_read(file), winner, ())
    if winner == LIVE:
        return None
    settings = settings_for_arms_or_refuse()
    try:
        return asyncio.run(_from_topics(settings, winner))
    except (ReportError, ControlLogError, OtherHashKeyError) as error:
        echo(f"the report says nothing: {error}", err=True)
    except TimeoutError:
        echo(
            f"the report was not ready within {_SECONDS:g} s: run `fraudstream split report --json`, and give its "
            "output as --evidence",
            err=True,
        )
    except (KafkaError, OSError) as error:
        echo(f"the report could not be read: {asyncio.run(explain_error(settings, error))}", err=True)
    return None


async def _from_topics(settings: Settings, winner: str) -> dict[str, Any]:
    from fraudstream.cli.split_report import ReportWish  # noqa: PLC0415 - numpy and rich come with it
    from fraudstream.ops.rollout.experiments.facts import facts  # noqa: PLC0415 - likewise
    from fraudstream.ops.rollout.experiments.report import ExperimentChoice, read_report  # noqa: PLC0415 - likewise
    from fraudstream.ops.rollout.experiments.words import missing_lines, verdict_line  # noqa: PLC0415 - likewise

    async with asyncio.timeout(_SECONDS):
        found = await read_report(settings, ExperimentChoice(), ReportWish().plan, lambda _topic, _share: None)
    return _grounds(facts(found), winner, (verdict_line(found), *missing_lines(found)))


def _read(file: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"{file} cannot be read as JSON: {error}", param_hint="--evidence") from error
    if not isinstance(found, dict) or "experiment" not in found or "winner" not in found:
        raise click.BadParameter(f"{file} is not what `split report --json` writes", param_hint="--evidence")
    return found


def _grounds(report: Mapping[str, Any], winner: str, lines: tuple[str, ...]) -> dict[str, Any]:
    """Show what a report says, and return what is kept of it."""
    named = report["winner"]
    said = "no winner yet" if named is None else f"the winner {named}"
    agrees = "" if named == winner else f"; you end it for {winner} all the same"
    echo(f"the report names {said}{agrees}", err=True)
    for line in lines:
        echo(f"  {line}", err=True)
    return {"report": {name: report[name] for name in _KEPT if name in report}}
