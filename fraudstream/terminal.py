"""The one way to print on a terminal: no text moves the cursor, writes over another, or counts as markup.

Names, reasons and ids come from producers and from whoever sends commands. `stream.printing` shows one such text on
its line; what is printed here, or on a `fraudstream.console`, may have several lines, and is escaped but for their
ends.
"""

import click

from stream.printing import printable_lines


def echo(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """Print lines to standard output, or with `err` to standard error."""
    click.echo(printable_lines(text), err=err, nl=nl)


def echo_json(encoded: bytes) -> None:
    """Print one JSON object, exactly: programs read it, and what could move a cursor is escaped by JSON already."""
    click.echo(encoded.decode())
