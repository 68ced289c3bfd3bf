"""Command groups that import a command only when it is used.

`fraudstream --help` imports no command, and `fraudstream schema` imports neither Kafka's client nor LightGBM.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

import click


class CommandSource(NamedTuple):
    """Where a command is defined, as `module:attribute`, and the first paragraph of its help."""

    place: str
    summary: str


class LazyGroup(click.Group):
    """Lists commands from a table of their sources, and imports one when it is used.

    The summaries are in the table because the list of commands needs them; a test compares them with the commands' own.
    """

    def __init__(self, *args: Any, sources: Mapping[str, CommandSource], **options: Any) -> None:  # noqa: ANN401 - click's own
        super().__init__(*args, **options)
        self.sources = sources

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names, sorted."""
        return sorted(self.sources)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import a command; None if there is none of this name."""
        source = self.sources.get(cmd_name)
        if source is None:
            return None
        module, _, attribute = source.place.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)  # noqa: S101 - an error in the table, not an input
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands from the table, as click does from commands."""
        listed = [click.Command(name, help=source.summary) for name, source in self.sources.items()]
        click.Group(commands=listed).format_commands(ctx, formatter)
