"""Output of commands: with `--json` one JSON object, otherwise text for people; errors go to standard error."""

from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeVar

import click
import msgspec

from fraudstream.terminal import echo, echo_json
from models.logins import without_logins

Command = TypeVar("Command", bound=Callable[..., Any])

json_option: Callable[[Command], Command] = click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object; everything else goes to standard error."
)


def say(as_json: bool, facts: Mapping[str, Any], text: str) -> None:  # noqa: FBT001 - it is the flag itself
    """Print the facts as one JSON object, or the text."""
    if as_json:
        echo_json(msgspec.json.encode(facts))
    else:
        echo(text)


def refuse(message: str) -> NoReturn:
    """Print an error to standard error, without logins and keys of URLs that it quotes, and exit with 1."""
    echo(without_logins(message), err=True)
    raise SystemExit(1)


def dropped_text(dropped: Mapping[str, int]) -> str:
    """Return how many optional values were dropped, by column."""
    return ", ".join(f"{count:,} invalid in {name}" for name, count in dropped.items())
