"""Command lines of `fraudstream`, parsed but not run."""

import click


def find_command(command: click.Command, words: list[str]) -> tuple[click.Context, list[str]]:
    """Return the context of the subcommand that `words` name, and the words after its name.

    Raises:
        click.UsageError: there is no such command.
    """
    name, rest = "fraudstream", list(words)
    context = click.Context(command, info_name=name, **command.context_settings)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        found = command.get_command(context, name)
        if found is None:
            raise click.UsageError(f"no command {name}")
        command, context = found, click.Context(found, info_name=name, parent=context, **found.context_settings)
    return context, rest
