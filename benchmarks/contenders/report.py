"""Shows again what `run --json` wrote: as a table for a terminal or a page, or as a picture."""

from pathlib import Path

import click
import msgspec
from rich.console import Console

from benchmarks.contenders.figures import ContenderFigures, failures, read_json, table
from benchmarks.contenders.picture import picture

WIDTH = 250
"""Characters that a table of all contenders needs."""


class MeasuredFile(click.ParamType):
    """Reads a file that `run --json` wrote; one of a run that goes on has what was measured up to now."""

    name = "file"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> list[ContenderFigures]:
        """Return the contenders that were measured, or fail with what is wrong."""
        try:
            found = read_json(Path(str(value)).read_bytes())
        except (OSError, msgspec.DecodeError) as error:
            self.fail(f"{value} cannot be read: {error}", param, ctx)
        if not found:
            self.fail(f"{value} has no measured contender", param, ctx)
        return found


@click.command("table")
@click.argument("found", metavar="FILE", type=MeasuredFile())
@click.option("--markdown", "as_markdown", is_flag=True, help="As a table of a page of documentation.")
def table_command(found: list[ContenderFigures], *, as_markdown: bool) -> None:
    """Print the table of a FILE that `run --json` wrote, and which rounds failed."""
    shown = table(found)
    if as_markdown:
        click.echo(shown.markdown(), nl=False)
    else:
        Console(width=WIDTH).print(shown.rich())
    for line in failures(found):
        click.echo(line, err=True)


@click.command("plot")
@click.argument("found", metavar="FILE", type=MeasuredFile())
@click.argument("svg", metavar="OUT.svg", type=click.Path(dir_okay=False, path_type=Path))
def plot_command(found: list[ContenderFigures], svg: Path) -> None:
    """Draw a FILE that `run --json` wrote, as an SVG; needs the extra `report`."""
    svg.write_text(picture(found), encoding="utf-8")
