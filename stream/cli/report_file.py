"""The option `--report FILE` of commands whose report is an HTML page, too."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from stream.cli.output import refuse
from stream.errors import MissingMatplotlibError

ReportCommand = TypeVar("ReportCommand", bound=Callable[..., Any])

report_option: Callable[[ReportCommand], ReportCommand] = click.option(
    "--report",
    "page",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write it as one HTML page, too; needs the extra `report`.",
)


def write_report(page: Path, make: Callable[[], str]) -> None:
    """Write a page into a file, or exit with 1 and say why that is impossible.

    Args:
        page: the file; it is replaced if it exists.
        make: returns the page.
    """
    try:
        page.write_text(make(), encoding="utf-8")
    except MissingMatplotlibError as error:
        refuse(str(error))
    except OSError as error:
        refuse(f"cannot write the report to {page}: {error.strerror or error}; choose another file for --report")
