"""The module of features that a deployment names: found beside the working directory too, and imported.

Whatever goes wrong in it is said with file and line. Nothing here knows what a feature is.
"""

import importlib
import os
import sys
import traceback
from pathlib import Path

from features.errors import DeclarationError


def exported(module_name: str, attribute: str) -> object:
    """Import a module and return what it calls `attribute`.

    A program that was installed as a script does not look into the working directory, so that is looked into last:
    what lies there cannot take the place of an installed module.

    Raises:
        DeclarationError: there is no such module, it fails, or it has nothing of that name.
    """
    here = os.getcwd()  # noqa: PTH109 - a text, as sys.path has them
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise DeclarationError(_missing(module_name, here))
    if here not in sys.path:
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise DeclarationError(f"{module_name} cannot be imported: {_where(error)}") from error
        raise DeclarationError(_missing(module_name, here)) from error
    except Exception as error:  # any fault of someone else's code
        raise DeclarationError(f"{module_name} cannot be imported: {_where(error)}") from error
    try:
        found: object = getattr(module, attribute)
    except AttributeError:
        place = getattr(module, "__file__", None) or "a folder without __init__.py"
        raise DeclarationError(
            f"{module_name} ({place}) has no {attribute}: give it a tuple of that name, or name another module"
        ) from None
    return found


def _missing(module_name: str, here: str) -> str:
    """Say that there is no such module, and what the name of a file should have been."""
    advice = f"looked in {here} and among what is installed"
    if module_name.endswith(".py") or os.sep in module_name:
        named = Path(module_name).with_suffix("").as_posix().strip("/.").replace("/", ".")
        advice = f"name a module, not its file: {named}"
    return f"there is no module {module_name!r}: {advice}"


def _where(error: Exception) -> str:
    """Return what happened, and the last line of someone else's code at which it did."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}: {error.msg}"
    package = str(Path(__file__).parent)
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith((package, "<frozen importlib", os.path.dirname(importlib.__file__)))  # noqa: PTH120
    ]
    kind = "" if isinstance(error, DeclarationError) else f"{type(error).__name__}: "
    place = f"{frames[-1].filename}, line {frames[-1].lineno}: " if frames else ""
    return f"{place}{kind}{error}"
