"""The option with which a command says why it is given."""

from collections.abc import Callable

import click

from stream.cli.output import Command
from stream.redaction import holds_card_number


def reason_option(help_text: str) -> Callable[[Command], Command]:
    """Return the option `--reason`."""
    return click.option("--reason", default="", callback=_harmless, help=help_text)


def _harmless(_context: click.Context, _option: click.Parameter, reason: str) -> str:
    """Refuse a text with a card number in it: the topic keeps it for ever."""
    if holds_card_number(reason):
        raise click.BadParameter("it holds a card number; name the card by its token, or leave it out")
    return reason
