"""Aggregates of a deployment's own: a function of one transaction and of the others in its window.

A function sees the same records in the same order wherever it is asked, whatever order they arrived in. That it is pure
nobody can prove: the probes of an artifact show whether it gives the same numbers on another machine.

The module of features that a deployment names: found beside the working directory too, and imported.

Whatever goes wrong in it is said with file and line. Nothing here knows what a feature is.
"""

import importlib
import math
import os
import re
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.errors import DeclarationError, FormulaError
from features.history import records
from features.history.frames import FINEST, PER_MAJOR, POWERS, Floats, Window
from features.history.store import Ints

MINUTE_MS = 60_000
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
Column = NDArray[Any]
"""One value for each transaction; of own transaction a single number."""


def import_attribute(module_name: str, attribute: str) -> object:
    """Import a module and return what it calls `attribute`.

    A program that was installed as a script does not look into the working directory, so that is looked into last:
    what lies there cannot take the place of an installed module.

    Raises:
        DeclarationError: there is no such module, it fails, or it has nothing of that name.
    """
    here = os.getcwd()  # noqa: PTH109 - a text, as sys.path has them
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise DeclarationError(_no_such_module(module_name, here))
    if here not in sys.path:
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise DeclarationError(f"{module_name} cannot be imported: {_location(error)}") from error
        raise DeclarationError(_no_such_module(module_name, here)) from error
    except Exception as error:  # any fault of someone else's code
        raise DeclarationError(f"{module_name} cannot be imported: {_location(error)}") from error
    try:
        found: object = getattr(module, attribute)
    except AttributeError:
        place = getattr(module, "__file__", None) or "a folder without __init__.py"
        raise DeclarationError(
            f"{module_name} ({place}) has no {attribute}: give it a tuple of that name, or name another module"
        ) from None
    return found


def _no_such_module(module_name: str, here: str) -> str:
    """Say that there is no such module, and what the name of a file should have been."""
    advice = f"looked in {here} and among what is installed"
    if module_name.endswith(".py") or os.sep in module_name:
        labels_start = Path(module_name).with_suffix("").as_posix().strip("/.").replace("/", ".")
        advice = f"name a module, not its file: {labels_start}"
    return f"there is no module {module_name!r}: {advice}"


def _location(error: Exception) -> str:
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


class Payments:
    """What a formula sees of some transactions, by time and then by id, as numpy columns; of one's own as numbers."""

    def __init__(self, rows: Ints) -> None:
        self._rows = rows

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._rows)

    @property
    def time_ms(self) -> Column:
        """When they occurred, in milliseconds of the Unix epoch."""
        return self._column(records.TIME)

    @property
    def amount(self) -> Column:
        """Amounts in major units of each one's currency, float64."""
        exponents = records.exponents(self._column(records.FLAGS))
        major: Column = self._column(records.AMOUNT) * POWERS[FINEST - exponents] / PER_MAJOR
        return major

    @property
    def other(self) -> Column:
        """The other parties, as numbers that are good for comparing."""
        return self._column(records.OTHER)

    @property
    def wall_clock_ms(self) -> Column:
        """When they occurred by the clocks of their places, as `time_ms`. Of a card only, as all below."""
        return self.time_ms + records.clock_minutes(self._traits) * MINUTE_MS

    @property
    def category(self) -> Column:
        """Merchant category codes; -1 where none is told."""
        return records.unpack_trait(self._traits, records.CATEGORY) - 1

    @property
    def country(self) -> Column:
        """Countries of merchants, as numbers that are good for comparing; 0 where none is told."""
        return records.unpack_trait(self._traits, records.COUNTRY)

    @property
    def channel(self) -> Column:
        """Places of channels in `features.history.records.CHANNELS`; -1 where none is told."""
        return records.unpack_trait(self._traits, records.CHANNEL) - 1

    @property
    def currency(self) -> Column:
        """Currencies, as numbers that are good for comparing."""
        return records.unpack_trait(self._traits, records.CURRENCY)

    @property
    def device(self) -> Column:
        """Devices, as numbers that are good for comparing; 0 where none is told."""
        return self._column(records.DEVICE)

    @property
    def _traits(self) -> Column:
        return self._column(records.TRAITS)

    def _column(self, column: int) -> Column:
        if column >= self._rows.shape[-1]:
            raise LookupError("only the history of a card tells this")
        told: Column = self._rows.T[column]
        return told


Function = Callable[[Payments, Payments], float | None]
"""Own transaction and the others of the window; None or NaN where the value is undefined."""


@dataclass(frozen=True, slots=True)
class Formula:
    """An aggregate of a deployment's own, asked as any other: `card(formula, "30d")`.

    Raise `version` whenever the function comes to give other numbers: it is part of the fingerprint, so that no model
    is asked with numbers that it was not trained on.

    Raises:
        DeclarationError: name or version cannot stand in a name or a fingerprint.
    """

    name: str
    version: int
    function: Function
    unit: str
    meaning: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise DeclarationError(f"formula {self.name!r}: a name is small letters, digits and single underscores")
        if not isinstance(self.version, int) or self.version < 1:
            raise DeclarationError(
                f"formula {self.name!r}: its version is a whole number from 1 on, not {self.version!r}"
            )
        if not callable(self.function):
            raise DeclarationError(f"formula {self.name!r}: its function cannot be called: {self.function!r}")


def evaluate(formula: Formula, feature: str, window: Window) -> Floats:
    """Ask a formula for each transaction of a batch, float64 of shape (n,).

    Raises:
        FormulaError: it raised something, or returned what is no number; the batch is then decided one by one.
    """
    rows, frame = window.frame.rows, window.frame
    values = np.empty(len(frame.lengths))
    for i, (start, last) in enumerate(zip(frame.starts.tolist(), frame.last.tolist(), strict=True)):
        others = rows[start:last][window.inside[start:last]]
        others = others[np.lexsort((others[:, records.ID], others[:, records.TIME]))]
        others.setflags(write=False)
        values[i] = _value(formula, feature, (Payments(rows[last]), Payments(others)))
    return values


def _value(formula: Formula, feature: str, asked: tuple[Payments, Payments]) -> float:
    try:
        told = formula.function(*asked)
        value = math.nan if told is None else float(told)
    except Exception as error:  # any fault of someone else's code
        raise FormulaError(f"feature {feature!r}: its formula raised {type(error).__name__}: {error}") from error
    if math.isinf(value):
        raise FormulaError(f"feature {feature!r}: its formula returned {value}: return a finite number, or None")
    return value
