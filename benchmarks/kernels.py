"""`python -m benchmarks.kernels`: features by the kernel in C and by numpy, on the same batches, in turns.

It also compares the bits of all values.
"""

import time
from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.workload import Workload
from features.declaration import FeatureSet
from features.history.store import Observed, Transactions
from features.memory_store import MemoryStore
from features.vector import vectorise as module
from features.vector.sets import load_sets
from features.vector.window_kernel import WindowKernel

SIZES = (1, 4, 8, 32, 256)
_CARDS, _SEED, _ROUNDS = 50, 5, 5
_PAYMENTS = 1_000
_WARM_UP = 2_000


class KernelLine(NamedTuple):
    """µs of CPU for a payment in batches of a size, medians over batches and rounds, and whether all bits are equal."""

    batch: int
    numpy_us: float
    kernel_us: float
    equal: bool


def measure(kernel: WindowKernel) -> list[KernelLine]:
    """Measure each batch size; histories have some 60 records a card and 100 a merchant."""
    feature_set = load_sets("").newest
    workload, store = Workload(_CARDS, _SEED), MemoryStore(feature_set)
    for _ in range(workload.before // _WARM_UP):
        store.observe_now(workload.next(_WARM_UP).batch)
    lines = []
    for size in SIZES:
        batches = [workload.next(size).batch for _ in range(max(8, _PAYMENTS // size))]
        seen = [(batch, store.observe_now(batch)) for batch in batches]
        spent: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(_ROUNDS):
            for compiled in (True, False):
                spent[compiled] += _times(feature_set, seen, kernel if compiled else None)
        equal = all(np.array_equal(*_both(feature_set, one, kernel)) for one in seen)
        lines.append(KernelLine(size, median(spent[False]) / size, median(spent[True]) / size, equal))
    return lines


Seen = tuple[Transactions, Observed]


def _times(feature_set: FeatureSet, seen: Sequence[Seen], kernel: WindowKernel | None) -> list[float]:
    module.KERNEL = kernel
    found = []
    for transactions, observed in seen:
        began = time.thread_time_ns()
        module.vectorise(feature_set, transactions, observed)
        found.append((time.thread_time_ns() - began) / 1000)
    return found


def _both(feature_set: FeatureSet, one: Seen, kernel: WindowKernel) -> tuple[np.ndarray, np.ndarray]:
    found = []
    for used in (kernel, None):
        module.KERNEL = used
        found.append(module.vectorise(feature_set, *one).view(np.int64))
    return found[0], found[1]


def main() -> None:
    """Print a table, or say that there is no kernel."""
    kernel = module.KERNEL
    if kernel is None:
        raise SystemExit("the kernel is not built: install a C compiler, then `pip install -e .` again")
    table = Table("payments in a batch", "numpy, µs a payment", "kernel", "numpy / kernel", "equal bits")
    for line in measure(kernel):
        ratio = line.numpy_us / line.kernel_us
        table.add_row(str(line.batch), f"{line.numpy_us:.1f}", f"{line.kernel_us:.1f}", f"{ratio:.1f}", str(line.equal))
    Console().print(table)


if __name__ == "__main__":
    main()
