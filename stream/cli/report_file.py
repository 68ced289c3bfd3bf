"""The option `--report FILE` of commands whose report is an HTML page, too."""

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from stream.cli.output import refuse
from stream.errors import MissingMatplotlibError, install_extra

ReportCommand = TypeVar("ReportCommand", bound=Callable[..., Any])


def _check_report(_context: click.Context, _option: click.Parameter, page: Path | None) -> Path | None:
    """Return the file of a report, or exit with 1 if it could not be written: before the long work, not after it."""
    if page is None:
        return None
    if importlib.util.find_spec("matplotlib") is None:
        refuse(f"--report needs matplotlib (charts of reports): {install_extra('report')}")
    folder = page.parent
    if not folder.is_dir():
        refuse(f"cannot write the report to {page}: there is no folder {folder}; make it, or choose another file")
    if not os.access(page if page.exists() else folder, os.W_OK):
        refuse(f"cannot write the report to {page}: Permission denied; choose another file for --report")
    return page


def report_option(what: str = "Write it as one HTML page, too") -> Callable[[ReportCommand], ReportCommand]:
    """Return the option of a command, which gets the file as `page`; `what` is done with it, in words."""
    return click.option(
        "--report",
        "page",
        type=click.Path(dir_okay=False, path_type=Path),
        callback=_check_report,
        metavar="FILE",
        help=f"{what}; needs the extra `report`.",
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
