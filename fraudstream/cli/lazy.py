"""Command groups: they list commands by purpose and uncut, import one when it is used, and name what was meant.

`fraudstream --help` imports no command, and `fraudstream schema` imports neither Kafka's client nor LightGBM.
"""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from itertools import groupby
from typing import Any, NamedTuple

import click

_MOST_MEANT = 3
_LIKE = 0.7
"""How alike a mistyped name and a command's have to be, from 0 to 1."""


class CommandSource(NamedTuple):
    """Where a command is defined, as `module:attribute`, the first paragraph of its help, and what it is for."""

    place: str
    summary: str
    purpose: str = "Commands"


class CommandGroup(click.Group):
    """Lists its commands with whole summaries, and answers an unknown one with those that may be meant."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by purpose, in the order of the purposes; no summary is cut."""
        for purpose, rows in groupby(self.summaries(ctx), lambda row: row[0]):
            with formatter.section(purpose):
                formatter.write_dl([(name, summary) for _, name, summary in rows])

    def summaries(self, ctx: click.Context) -> Iterator[tuple[str, str, str]]:
        """Yield the purpose, name and summary of each command that is shown, those of a purpose together."""
        for name in self.list_commands(ctx):
            command = self.get_command(ctx, name)
            if command is not None and not command.hidden:
                yield "Commands", name, summary_of(command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the arguments name.

        Raises:
            click.UsageError: there is none; it names those that may be meant, of the whole program.
        """
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            found = meant(ctx, args[0])
            if found:
                error.message += f" Did you mean {' or '.join(f'`{one}`' for one in found)}?"
            raise


class LazyGroup(CommandGroup):
    """Lists commands from a table of their sources, and imports one when it is used.

    The summaries are in the table because the list of commands needs them; a test compares them with the commands' own.
    """

    def __init__(self, *args: Any, sources: Mapping[str, CommandSource], **options: Any) -> None:  # noqa: ANN401 - click's own
        super().__init__(*args, **options)
        self.sources = sources

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """Return the names, in the order of the table."""
        return list(self.sources)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """Import a command; None if there is none of this name."""
        source = self.sources.get(cmd_name)
        if source is None:
            return None
        module, _, attribute = source.place.partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)  # noqa: S101 - an error in the table, not an input
        return command

    def summaries(self, ctx: click.Context) -> Iterator[tuple[str, str, str]]:  # noqa: ARG002 - click's signature
        """Yield purpose, name and summary from the table."""
        for name, source in self.sources.items():
            yield source.purpose, name, source.summary


def summary_of(command: click.Command) -> str:
    """Return the first paragraph of a command's help, on one line."""
    return " ".join((command.help or "").split("\n\n")[0].split())


def meant(ctx: click.Context, name: str) -> list[str]:
    """Return the commands of the whole program that a name may mean, as they are typed, the likeliest first."""
    root = ctx.find_root()
    paths = list(_paths(root, root.command))
    here = tuple(ctx.command_path.split()[1:])
    names = {path[-1] for path in paths}
    wanted = name.lower().replace("_", "-")
    likely = [wanted] if wanted in names else get_close_matches(wanted, names, _MOST_MEANT, _LIKE)

    def distance(path: Sequence[str]) -> tuple[int, bool, int]:
        return likely.index(path[-1]), path[: len(here)] != here, len(path)

    found = sorted((path for path in paths if path[-1] in likely), key=distance)[:_MOST_MEANT]
    return [" ".join([root.info_name or "fraudstream", *path]) for path in found]


def _paths(ctx: click.Context, group: click.Command, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words that name each command and group; it imports all of them."""
    if not isinstance(group, click.Group):
        return
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        if command is not None and not command.hidden:
            yield (*before, name)
            yield from _paths(ctx, command, (*before, name))
