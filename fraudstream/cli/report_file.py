"""The options `--report FILE` and `--plot FILE` of commands whose result is an HTML page or a picture, too."""

import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from fraudstream.cli.output import refuse
from fraudstream.cli.refusals import Refusals
from stream.errors import install_extra

ReportCommand = TypeVar("ReportCommand", bound=Callable[..., Any])


def _check_report(_context: click.Context, option: click.Parameter, page: Path | None) -> Path | None:
    """Return the file of a report, or exit with 1 if it could not be written: before the long work, not after it."""
    if page is None:
        return None
    folder, flag = page.parent, option.opts[0]
    if importlib.util.find_spec("matplotlib") is None:
        refuse(f"{flag} needs matplotlib (charts of reports): {install_extra('report')}")
    if not folder.is_dir():
        refuse(f"cannot write the report to {page}: there is no folder {folder}; make it, or choose another file")
    if not os.access(page if page.exists() else folder, os.W_OK):
        refuse(f"cannot write the report to {page}: Permission denied; choose another file for {flag}")
    return page


def report_option(what: str = "Write it as one HTML page, too") -> Callable[[ReportCommand], ReportCommand]:
    """Return the option of a command, which gets the file as `page`; `what` is done with it, in words."""
    return _file_option("--report", "page", what)


def picture_option(what: str) -> Callable[[ReportCommand], ReportCommand]:
    """Return the option of a command, which gets the file as `picture`; `what` is done with it, in words."""
    return _file_option("--plot", "picture", what)


def _file_option(flag: str, name: str, what: str) -> Callable[[ReportCommand], ReportCommand]:
    return click.option(
        flag,
        name,
        type=click.Path(dir_okay=False, path_type=Path),
        callback=_check_report,
        metavar="FILE",
        help=f"{what}; needs the extra `report`.",
    )


def write_report(page: Path, make: Callable[[], str], flag: str = "--report") -> None:
    """Write a page or a picture into a file, or exit with 1 and say why that is impossible.

    Args:
        page: the file; it is replaced if it exists.
        make: returns the page.
        flag: the option that named the file.
    """
    with Refusals():
        text = make()
    try:
        page.write_text(text, encoding="utf-8")
    except OSError as error:
        refuse(f"cannot write the report to {page}: {error.strerror or error}; choose another file for {flag}")
