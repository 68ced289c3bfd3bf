"""`python -m benchmarks.trees`: margins by the kernel in C and by LightGBM, on the same rows, in turns.

It trains its models, of 31 leaves and 45 features, and compares the bits of all margins. Between two batches a worker
does other work, which takes the processor's caches from the trees; so batches are measured after a read of 8 MiB, too.
"""

import time
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from models import tree_kernel as module
from models.artifact import same_bits
from models.booster import Booster, FitRows, fit
from models.policy import Floats

SIZES = (1, 4, 8, 32, 256)
TREES = (57, 400, 1_600)
_WIDTH, _ROWS, _SEED = 45, 30_000, 3
NAMES = tuple(f"f{number}" for number in range(_WIDTH))
_PARAMETERS = {"objective": "binary", "num_leaves": 31, "learning_rate": 0.03, "feature_fraction": 0.8, "seed": 1}
_MISSING, _ZEROS = 0.03, 0.6
_ROUNDS, _LEAST_BATCHES, _MEASURED_ROWS = 3, 10, 300
_OTHER_BYTES = 8 << 20


class TreesLine(NamedTuple):
    """µs of CPU for a row in batches of a size, medians over batches and rounds, and whether all bits are equal.

    The figures that are `_later` are after other work.
    """

    trees: int
    batch: int
    lightgbm_us: float
    kernel_us: float
    lightgbm_later_us: float
    kernel_later_us: float
    equal: bool


def rows_to_score() -> Floats:
    """Return rows of counts, amounts, shares, times and columns that are mostly 0, with 3 % NaN; always the same."""
    random = np.random.default_rng(_SEED)
    kinds = (
        lambda: random.poisson(3, _ROWS),
        lambda: random.lognormal(4, 1.5, _ROWS).round(2),
        lambda: random.beta(0.5, 1, _ROWS),
        lambda: random.lognormal(8, 2, _ROWS),
        lambda: np.where(random.random(_ROWS) < _ZEROS, 0, random.lognormal(0, 1, _ROWS)),
    )
    matrix = np.stack([kinds[number % len(kinds)]() for number in range(_WIDTH)], axis=1).astype(np.float64)
    matrix[random.random(matrix.shape) < _MISSING] = np.nan
    return matrix


def trained(trees: int, matrix: Floats) -> str:
    """Return the text of so many trees of the columns `NAMES`, whose labels depend on the rank of each column."""
    random = np.random.default_rng(_SEED)
    ranks = np.nan_to_num(matrix).argsort(axis=0).argsort(axis=0) / _ROWS - 0.5
    score = ranks @ random.normal(size=_WIDTH) + random.normal(size=_ROWS) / 2
    rows = FitRows(matrix, np.arange(_ROWS), (score > np.quantile(score, 0.9)).astype(np.int8))
    parameters: dict[str, Any] = {**_PARAMETERS, "num_iterations": trees, "verbosity": -1, "num_threads": 1}
    return fit(rows, NAMES, parameters, lambda _tree: None).text


def measure(sizes: Sequence[int] = SIZES, numbers: Sequence[int] = TREES) -> Iterator[TreesLine]:
    """Measure models of these numbers of trees, each on batches of these sizes."""
    matrix = rows_to_score()
    for trees in numbers:
        text = trained(trees, matrix)
        compiled, plain = Booster(text, NAMES), _by_lightgbm(text)
        for size in sizes:
            yield _line(trees, size, matrix, (plain, compiled))


def _by_lightgbm(text: str) -> Booster:
    kernel, module.KERNEL = module.KERNEL, None
    try:
        return Booster(text, NAMES)
    finally:
        module.KERNEL = kernel


def _line(trees: int, size: int, matrix: Floats, both: tuple[Booster, Booster]) -> TreesLine:
    count = max(_LEAST_BATCHES, _MEASURED_ROWS // size)
    batches = [matrix[at * size : (at + 1) * size] for at in range(count)]
    other = np.ones(_OTHER_BYTES, np.uint8)
    spent: dict[tuple[bool, int], list[float]] = {(later, of): [] for later in (False, True) for of in (0, 1)}
    for _ in range(_ROUNDS):
        for (later, of), times in spent.items():
            times += [_time(both[of], batch, other if later else None) for batch in batches]
    equal = all(same_bits(both[0].margins(batch), both[1].margins(batch)) for batch in batches)
    lightgbm, kernel, lightgbm_later, kernel_later = (median(times) / size for times in spent.values())
    return TreesLine(trees, size, lightgbm, kernel, lightgbm_later, kernel_later, equal)


def _time(booster: Booster, batch: Floats, other: np.ndarray | None) -> float:
    if other is not None:
        other.sum()
    began = time.thread_time_ns()
    booster.margins(batch)
    return (time.thread_time_ns() - began) / 1000


def main() -> None:
    """Print a table, or say that there is no kernel."""
    if module.KERNEL is None:
        raise SystemExit("the kernel is not built: install a C compiler, then `pip install -e .` again")
    table = Table(
        "trees",
        "rows",
        "LightGBM, µs a row",
        "kernel",
        "ratio",
        "LightGBM after other work",
        "kernel",
        "ratio",
        "equal",
    )
    for line in measure():
        shown = (line.lightgbm_us, line.kernel_us, line.lightgbm_us / line.kernel_us)
        later = (line.lightgbm_later_us, line.kernel_later_us, line.lightgbm_later_us / line.kernel_later_us)
        figures = (f"{value:.1f}" for value in (*shown, *later))
        table.add_row(str(line.trees), str(line.batch), *figures, str(line.equal))
    Console().print(table)


if __name__ == "__main__":
    main()
