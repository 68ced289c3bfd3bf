"""The windowed features of a batch by the kernel in C, where it is there and can compute them."""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from features.aggregates import USUAL_MS, Aggregate
from features.declaration import DAY_MS, MINUTE_MS, Feature
from features.history import records
from features.history.frames import PER_MAJOR
from features.history.store import Ints
from features.history.views import RowSpans
from features.vector import amounts, habits, travel

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]
COLUMN = 3
"""Where a step has its column."""
LIBRARY = Path(__file__).with_name("window_features.shared")

OPERATIONS: Mapping[Aggregate, int] = MappingProxyType(
    {
        aggregate: number
        for number, aggregate in enumerate(
            (
                Aggregate.COUNT,
                Aggregate.AMOUNT_SUM,
                Aggregate.AMOUNT_MEAN,
                Aggregate.AMOUNT_MAX,
                Aggregate.AMOUNT_TO_MEAN,
                Aggregate.AMOUNT_DEVIATION,
                Aggregate.OTHERS,
                Aggregate.OTHER_FIRST,
                Aggregate.FRAUD_SHARE,
                Aggregate.AMOUNT_TO_SMALLEST,
                Aggregate.AMOUNT_REPEATED,
                Aggregate.COUNTRIES,
                Aggregate.COUNTRY_JUMP,
                Aggregate.DISTANCE_FROM_LAST,
                Aggregate.SPEED_FROM_LAST,
                Aggregate.DEVICES,
                Aggregate.DEVICE_FIRST,
                Aggregate.CATEGORY_SHARE,
                Aggregate.CHANNEL_SHARE,
                Aggregate.TIME_OF_DAY_SHARE,
                Aggregate.SECONDS_SINCE_LAST,
                Aggregate.FRAUD_RUN,
                Aggregate.FRAUD_LATEST,
                Aggregate.FRAUD_SHARE_OF_LAST_5,
                Aggregate.DAYS_SINCE_FIRST_FRAUD,
                Aggregate.AMOUNT_TO_EARLIER_MEAN,
                Aggregate.AMOUNT_TO_EARLIER_MEDIAN,
                Aggregate.LARGE_AMOUNTS,
                Aggregate.LARGEST_TO_MEDIAN,
            )
        )
    }
)
"""The aggregates of the kernel, in the order of its `enum operation`."""


class _Constants(ctypes.Structure):
    _fields_ = (
        *(
            (name, ctypes.c_int64)
            for name in (
                *("label_bit", "fraud_bit", "no_transaction", "exponent_shift", "exponent_mask", "partition_shift"),
                *("category_mask", "country_mask", "channel_mask", "currency_mask", "place_mask"),
                *("clock_shift", "clock_mask", "minute_ms", "day_ms", "near_ms", "least_elapsed_ms"),
                *("quarter_turn", "full_turn", "least_amount"),
                *("usual_ms", "large_above", "large_below"),
            )
        ),
        *((name, ctypes.c_double) for name in ("per_major", "ms_per_hour", "radians", "diameter_km", "place_units")),
        ("sine", ctypes.c_double * travel.SINE_TERMS),
        ("arc_sine", ctypes.c_double * travel.ARC_SINE_TERMS),
        ("halvings", ctypes.c_int64),
    )


def _constants() -> _Constants:
    return _Constants(
        label_bit=records.LABEL_BIT,
        fraud_bit=records.FRAUD_BIT,
        no_transaction=records.NO_TRANSACTION,
        exponent_shift=records.EXPONENT_SHIFT,
        exponent_mask=records.EXPONENT_MASK,
        partition_shift=records.PARTITION_SHIFT,
        category_mask=records.CATEGORY.mask,
        country_mask=records.COUNTRY.mask,
        channel_mask=records.CHANNEL.mask,
        currency_mask=records.CURRENCY.mask,
        place_mask=records.HAS_PLACE.mask,
        clock_shift=records.CLOCK.shift,
        clock_mask=(1 << records.CLOCK.bits) - 1,
        minute_ms=MINUTE_MS,
        day_ms=DAY_MS,
        near_ms=habits.NEAR_MS,
        least_elapsed_ms=travel.LEAST_ELAPSED_MS,
        quarter_turn=travel.QUARTER_TURN,
        full_turn=travel.FULL_TURN,
        least_amount=amounts.LEAST,
        usual_ms=USUAL_MS,
        large_above=amounts.LARGE_ABOVE,
        large_below=amounts.LARGE_BELOW,
        per_major=PER_MAJOR,
        ms_per_hour=travel.MS_PER_HOUR,
        radians=travel.RADIANS,
        diameter_km=2.0 * travel.RADIUS_KM,
        place_units=records.PLACE_UNITS,
        sine=travel.SINE,
        arc_sine=travel.ARC_SINE,
        halvings=travel.HALVINGS,
    )


class Steps(NamedTuple):
    """Operation, window length, delay in ms and column of each step, int64 of shape (k, 4), and where that lies."""

    table: Ints
    address: int


class WindowKernel:
    """The library, and the constants that it shares with numpy's code."""

    def __init__(self, library: Path) -> None:
        loaded = ctypes.CDLL(str(library))
        integer, pointer = ctypes.c_int64, ctypes.c_void_p
        self._features, self._partitions = loaded.window_features, loaded.several_partitions
        self._features.argtypes = (pointer, integer, integer, integer, pointer, integer, pointer, pointer)
        self._features.restype = ctypes.c_int
        self._partitions.argtypes = (pointer, integer, integer, integer, pointer)
        self._partitions.restype = None
        self._constants = _constants()
        self._at = ctypes.addressof(self._constants)
        holding = ctypes.PyDLL(str(library))  # a call keeps the GIL, which takes longer to get back than a distance
        distance = holding.distance_of_degrees
        distance.argtypes, distance.restype = (pointer, *(ctypes.c_double,) * 4), ctypes.c_double
        self.distance_of_degrees: Callable[[float, float, float, float], float] = partial(distance, self._at)
        """Does what `travel.distance_of_degrees` does; an argument that is no number is a `ctypes.ArgumentError`."""

    def compute(self, steps: Steps, spans: RowSpans, own_ms: Ints, found: Floats) -> Flags:
        """Fill in the columns of all steps, and return which histories are left to numpy, of shape (n,).

        Args:
            steps: what is computed.
            spans: where the n histories lie.
            own_ms: times of the payments, of shape (n,).
            found: a row for each column of the steps, contiguous, of shape (at least so many, n).

        Raises:
            MemoryError: there is no memory for the scratch columns of the longest history.
        """
        spans.table[2] = own_ms
        where = (spans.address, len(own_ms), spans.columns, spans.horizon_ms)
        if self._features(*where, steps.address, len(steps.table), self._at, found.ctypes.data):
            raise MemoryError
        left: Flags = spans.table[3] != 0
        return left

    def several_partitions(self, spans: RowSpans) -> Flags:
        """Mark the histories whose visible transactions came from more than one partition, of shape (n,)."""
        self._partitions(spans.address, spans.table.shape[1], spans.columns, spans.horizon_ms, self._at)
        marked: Flags = spans.table[3] != 0
        return marked


def steps_of(rows: Sequence[Feature], places: Sequence[int] | None = None) -> Steps:
    """Return the steps for some features; their columns are `places`, or their own order."""
    table = np.array(
        [
            (OPERATIONS[row.aggregate], row.window_ms or 0, row.delay_ms, column)  # type: ignore[index] # `computes`
            for column, row in zip(range(len(rows)) if places is None else places, rows, strict=True)
        ],
        np.int64,
    ).reshape(-1, 4)
    return Steps(table, table.ctypes.data)


def computes(row: Feature) -> bool:
    """Tell whether the kernel computes a feature: an aggregate of exact records."""
    return isinstance(row.aggregate, Aggregate) and row.aggregate in OPERATIONS and not row.is_paned


def open_kernel() -> WindowKernel | None:
    """Return the kernel; None where it was not built, not for this machine, or from other sources than these."""
    try:
        return WindowKernel(LIBRARY) if LIBRARY.exists() else None
    except (OSError, AttributeError):
        return None
