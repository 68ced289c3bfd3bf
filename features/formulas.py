"""A deployment's own feature code: the import of its feature module, and formulas, which are aggregates of its own.

A formula is a function of one transaction and of the others in its window. It gets the same records in the same order
wherever it runs, whatever order they arrived in. Purity cannot be proved; the probes of a model artifact show whether
it gives the same numbers on another machine. Import errors name file and line.
"""

import importlib
import math
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from pkgutil import extend_path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from features.errors import DeclarationError, FormulaError
from features.history import records
from features.history.frames import Floats, Window, major_units
from features.history.store import Ints
from features.own_payment import FieldText, OwnPayment
from features.own_table import FEW

MINUTE_MS = 60_000
OUR_PACKAGES = frozenset({"features", "fraudstream", "guards", "metrics", "models", "shadow", "stream"})
"""The packages of fraudstream. A project may have folders of these names: each is then one package with ours."""
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
Column = NDArray[Any]
"""One value for each transaction; for one's own transaction a single number."""


class Payments:
    """The transactions that a formula sees, as numpy columns ordered by time and then by id; scalars for one's own.

    `own` is one's own transaction with its fields, where these are those of one's own.
    """

    def __init__(self, rows: Ints, own: OwnPayment | None = None) -> None:
        self._rows = rows
        self._own = own

    def __getitem__(self, name: str) -> FieldText:
        """Return a field of one's own transaction, as `OwnPayment` does; histories hold no fields of a module."""
        if self._own is None:
            raise LookupError(f"{name!r}: only one's own transaction has fields; histories hold none")
        return self._own[name]

    def __len__(self) -> int:
        """Return the number of transactions."""
        return len(self._rows)

    @property
    def time_ms(self) -> Column:
        """When they occurred, in milliseconds of the Unix epoch."""
        return self._column(records.TIME)

    @property
    def amount(self) -> Column:
        """Amounts in major units of each one's currency, float64."""
        exponents = records.exponents(self._column(records.FLAGS))
        return major_units(self._column(records.AMOUNT), exponents)

    @property
    def other(self) -> Column:
        """Counterparties, as numbers that can only be compared."""
        return self._column(records.OTHER)

    @property
    def wall_clock_ms(self) -> Column:
        """When they occurred by the local clock, as `time_ms`. Cards only, as all below."""
        return self.time_ms + records.clock_minutes(self._traits) * MINUTE_MS

    @property
    def category(self) -> Column:
        """Merchant category codes; -1 if absent."""
        return records.unpack_trait(self._traits, records.CATEGORY) - 1

    @property
    def country(self) -> Column:
        """Merchant countries, as numbers that can only be compared; 0 if absent."""
        return records.unpack_trait(self._traits, records.COUNTRY)

    @property
    def channel(self) -> Column:
        """Indexes into `features.history.records.CHANNELS`; -1 if absent."""
        return records.unpack_trait(self._traits, records.CHANNEL) - 1

    @property
    def currency(self) -> Column:
        """Currencies, as numbers that can only be compared."""
        return records.unpack_trait(self._traits, records.CURRENCY)

    @property
    def device(self) -> Column:
        """Devices, as numbers that can only be compared; 0 if absent."""
        return self._column(records.DEVICE)

    @property
    def _traits(self) -> Column:
        return self._column(records.TRAITS)

    def _column(self, column: int) -> Column:
        if column >= self._rows.shape[-1]:
            raise LookupError("only a card's history has this column")
        values: Column = self._rows.T[column]
        return values


Function = Callable[..., float | None]
"""Takes one's own transaction and the others of the window, both `Payments`; of the transaction alone an `OwnPayment`.

It returns None or NaN where the value is undefined.
"""


@dataclass(frozen=True, slots=True)
class Formula:
    """A deployment's own aggregate, used like any other: `card(formula, "30d")`.

    Raise `version` whenever the function's results change: it is part of the fingerprint, so that no model gets
    values that it was not trained on.

    Raises:
        DeclarationError: the name or the version is invalid.
    """

    name: str
    version: int
    function: Function
    unit: str
    meaning: str

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):
            raise DeclarationError(
                f"formula {self.name!r}: a name consists of lower-case letters, digits and single underscores"
            )
        if not isinstance(self.version, int) or self.version < 1:
            raise DeclarationError(
                f"formula {self.name!r}: its version must be an integer of at least 1, not {self.version!r}"
            )
        if not callable(self.function):
            raise DeclarationError(f"formula {self.name!r}: its function is not callable: {self.function!r}")


def evaluate_alone(formula: Formula, each: Sequence[OwnPayment]) -> Floats | Sequence[float]:
    """Call a formula of the transaction alone for each of a batch, and return the n numbers.

    Raises:
        FormulaError: it raised an exception or returned no number; the batch is then decided one by one.
    """
    function = formula.function
    try:
        numbers = _numbers([function(one) for one in each])
    except Exception as error:  # foreign code can raise anything
        raise _raised(formula.name, error) from error
    listed = numbers.tolist() if isinstance(numbers, np.ndarray) else numbers
    for infinite in (math.inf, -math.inf):
        if infinite in listed:
            raise _not_finite(formula.name, infinite)
    return numbers


def evaluate(formula: Formula, feature: str, window: Window, own: Callable[[int], OwnPayment]) -> Floats:
    """Call a formula for each transaction of a batch, float64 of shape (n,).

    `own` returns the transaction of that number with its fields.

    Raises:
        FormulaError: it raised an exception or returned no number; the batch is then decided one by one.
    """
    rows, frame = window.frame.rows, window.frame
    values = np.empty(len(frame.lengths))
    for i, (start, last) in enumerate(zip(frame.starts.tolist(), frame.last.tolist(), strict=True)):
        others = rows[start:last][window.inside[start:last]]
        others = others[np.lexsort((others[:, records.ID], others[:, records.TIME]))]
        others.setflags(write=False)
        values[i] = _value(formula, feature, (Payments(rows[last], own(i)), Payments(others)))
    return values


def _value(formula: Formula, feature: str, arguments: tuple[Payments, Payments]) -> float:
    """Call the formula once."""
    try:
        value = _number(formula.function(*arguments))
    except Exception as error:  # foreign code can raise anything
        raise _raised(feature, error) from error
    if math.isinf(value):
        raise _not_finite(feature, value)
    return value


def _numbers(results: Sequence[float | None]) -> Floats | Sequence[float]:
    if len(results) > FEW:
        numbers = np.array(results, np.float64)  # None is NaN
        if numbers.ndim == 1:
            return numbers
    return [_number(one) for one in results]


def _number(result: float | None) -> float:
    return math.nan if result is None else float(result)


def _raised(feature: str, error: Exception) -> FormulaError:
    return FormulaError(f"feature {feature!r}: its formula raised {type(error).__name__}: {error}", feature)


def _not_finite(feature: str, value: float) -> FormulaError:
    return FormulaError(f"feature {feature!r}: its formula returned {value}: return a finite number, or None", feature)


def import_attribute(module_name: str, attribute: str) -> object:
    """Import a module and return its attribute.

    An installed script does not search the working directory, so that is appended to the search path: a file there
    cannot take the place of an installed module. A folder there with the name of one of our packages is searched too.

    Raises:
        DeclarationError: there is no such module, its import fails, or it has no such attribute.
    """
    here = os.getcwd()  # noqa: PTH109 - a text, as sys.path has them
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise DeclarationError(_no_such_module(module_name, here))
    if here not in sys.path:
        sys.path.append(here)
    for name in OUR_PACKAGES & sys.modules.keys():
        sys.modules[name].__path__ = extend_path(sys.modules[name].__path__, name)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # foreign code can raise anything
        raise DeclarationError(_import_failed(module_name, here, error)) from error
    try:
        found: object = getattr(module, attribute)
    except AttributeError:
        place = getattr(module, "__file__", None) or "a folder without __init__.py"
        raise DeclarationError(
            f"{module_name} ({place}) has no {attribute}: give it a tuple of that name, or name another module"
        ) from None
    return found


def refuse_hidden(module_name: str) -> None:
    """Refuse a module of the working directory that a module of fraudstream of the same name hides.

    Raises:
        DeclarationError: there is such a module; ours would take its place.
    """
    here, ours = Path.cwd(), Path(__file__).parents[1]
    top, *inner = module_name.split(".")
    if top not in OUR_PACKAGES or here == ours:
        return
    named = [root.joinpath(top, *inner) for root in (here, ours)]
    if all(one.is_dir() or one.with_suffix(".py").is_file() for one in named):
        place = named[0] if named[0].is_dir() else named[0].with_suffix(".py")
        raise DeclarationError(
            f"{module_name} cannot be imported from {place}: fraudstream has a module of that name, which would take "
            "its place: rename it"
        )


def _import_failed(module_name: str, here: str, error: Exception) -> str:
    """Return the message for an import that failed, with why a name of the working directory may be missing."""
    missing = (error.name or "") if isinstance(error, ImportError) else ""
    if isinstance(error, ModuleNotFoundError) and missing and f"{module_name}.".startswith(f"{missing}."):
        return _no_such_module(module_name, here)
    own, advice = Path(here, missing, "__init__.py"), ""
    if missing in OUR_PACKAGES and own.is_file():
        advice = f"; {own} is not run, since fraudstream has a package {missing!r}: move what it has to a module there"
    return f"{module_name} cannot be imported: {_location(error)}{advice}"


def _no_such_module(module_name: str, here: str) -> str:
    """Return the message for a missing module, with the module name to use where a file was named."""
    advice = f"looked in {here} and among installed modules"
    if module_name.endswith(".py") or os.sep in module_name:
        named = Path(module_name).with_suffix("").as_posix().strip("/.").replace("/", ".")
        advice = f"name a module, not its file: {named}"
    return f"there is no module {module_name!r}: {advice}"


def _location(error: Exception) -> str:
    """Return the error, and the last line of foreign code at which it was raised."""
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
