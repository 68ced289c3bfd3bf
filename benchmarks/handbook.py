"""The protocol of a public handbook on its public stream: published figures, and ours, on every split that a file has.

Le Borgne, Siblini, Lebichot, Bontempi, Reproducible Machine Learning for Credit Card Fraud Detection (2022): chapter
3.4 has one split, chapter 5.3 four of prequential validation and four of test. Each trains on seven days, waits seven
days for labels, and tests on seven days. A card with a fraud in the seven days of training leaves the test, and so does
one with a fraud on a day that lies eight days or more before the day of the test.

Two things are ours. Scores need a calibration: a model of one week is calibrated on the week before it, and one of the
whole past on its last seven days, which its trees then do not see. And log loss and the error of calibration among
alerts are not in the book; alerts are what a threshold finds that alerts 0.5 % of the calibration's payments.

Where parameters are searched, that is done once, on what is known when the first test begins, and all splits use them.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from features.declaration import DAY_MS, FeatureSet
from features.history.store import Ints
from fraudstream.lab.dataset.database import connect_memory, import_duckdb, quoted
from fraudstream.lab.dataset.file import TransactionsFile
from fraudstream.lab.evaluation.calibration import ALERT_BINS, alert_error, error_by_chance
from fraudstream.lab.evaluation.draws import CardDraws
from fraudstream.lab.evaluation.payments import FileTable, days_of, read_payments
from fraudstream.lab.training.evaluation import calibrate, choose_policy
from fraudstream.lab.training.request import SearchReport, Shares, TrainingRequest
from fraudstream.lab.training.search import search
from fraudstream.lab.training.split import Split
from fraudstream.lab.training.trees import DEFAULTS
from fraudstream.lab.training.vectors import Table, reach_ms, row_blocks
from fraudstream.ops.rollout.verdict.figures import Figure
from metrics.alerts import ScoredRows
from metrics.bootstrap import BootstrapPlan
from metrics.calibration import constant_log_loss, log_losses
from metrics.card_precision import card_precision
from metrics.columns import Bools, Floats
from metrics.weighted_ranking import WeightedRanking
from models.artifact import Parameter
from models.booster import Booster, FitRows, fit
from models.calibration import Calibrator
from models.times import format_time, stated_ms
from stream.errors import MeasurementError

WEEK_MS = 7 * DAY_MS
CARDS_A_DAY = 100
BOOK_FEATURES = (
    "is_weekend",
    "is_night",
    *(f"card_{what}_{days}d" for days in (1, 7, 30) for what in ("count", "amount_mean")),
    *(f"merchant_{what}_delayed_{days}d" for days in (1, 7, 30) for what in ("count", "fraud_share")),
)
"""The rows of the default set that the book has, beside the amount (chapter 3.3)."""
AMOUNT = "amount"
_MEMORY_MB = 512
_COLUMNS = ("TRANSACTION_ID", "TX_DATETIME", "CUSTOMER_ID", "TERMINAL_ID", "TX_AMOUNT", "TX_FRAUD")
_CENTS = 100
_DRAWS = 500

Progress = Callable[[str, int, int], None]


class PublishedResult(NamedTuple):
    """A result of the book: the splits it is of, the model, and its figures, means over the splits."""

    splits: str
    model: str
    auc: float
    average_precision: float
    card_precision: float
    source: str


_CHAPTER_3, _CHAPTER_5 = "chapter 3.4, table of test performances", "chapter 5.3, validation performance"
PUBLISHED = (
    PublishedResult("chapter 3", "logistic regression", 0.871, 0.606, 0.291, _CHAPTER_3),
    PublishedResult("chapter 3", "random forest", 0.867, 0.658, 0.287, _CHAPTER_3),
    PublishedResult("chapter 3", "XGBoost", 0.862, 0.639, 0.273, _CHAPTER_3),
    PublishedResult("validation", "decision tree", 0.823, 0.573, 0.268, _CHAPTER_5),
    PublishedResult("validation", "logistic regression", 0.867, 0.613, 0.279, _CHAPTER_5),
    PublishedResult("validation", "random forest", 0.880, 0.694, 0.289, _CHAPTER_5),
    PublishedResult("validation", "XGBoost", 0.887, 0.708, 0.289, _CHAPTER_5),
    PublishedResult("test", "XGBoost", 0.869, 0.687, 0.303, "chapter 5.3, test performance"),
)
"""In chapter 5 each figure is of the parameters that are best by it, chosen on the validation splits themselves."""


class HandbookSplit(NamedTuple):
    """One split; training lasts from `train_ms` for seven days, the test begins fourteen days after it."""

    name: str
    train_ms: int

    @property
    def known_ms(self) -> int:
        """The end of training; what occurred before has a label when the test begins."""
        return self.train_ms + WEEK_MS

    @property
    def test_ms(self) -> int:
        """The begin of the test."""
        return self.train_ms + 2 * WEEK_MS


def _splits(name: str, last_train: str) -> tuple[HandbookSplit, ...]:
    last_ms = stated_ms(f"{last_train}T00:00:00Z")
    return tuple(HandbookSplit(name, last_ms - weeks * WEEK_MS) for weeks in range(3, -1, -1))


SPLITS = (
    *_splits("validation", "2018-07-11"),
    HandbookSplit("chapter 3", stated_ms("2018-07-25T00:00:00Z")),
    *_splits("test", "2018-08-15"),
)


@dataclass(frozen=True, slots=True)
class HandbookEffort:
    """How models are trained: by the defaults of `fraudstream train`, but for these.

    With `trials` another model has the parameters that are best in so many, of the default set and the whole past.
    """

    trees: int = 150
    leaves: int = 31
    learning_rate: float = 0.05
    seed: int = 1
    threads: int = 2
    trials: int = 0

    @property
    def parameters(self) -> dict[str, Parameter]:
        """LightGBM's parameters."""
        return {
            **DEFAULTS,
            "num_iterations": self.trees,
            "num_leaves": self.leaves,
            "learning_rate": self.learning_rate,
            "seed": self.seed,
        }


class HandbookLine(msgspec.Struct, frozen=True, kw_only=True):
    """One split with one model: what it was trained on, and its figures on the test.

    Attributes:
        splits: "validation", "chapter 3" or "test".
        features: "book" or "default".
        history: "week", as in the book, or "all" that is known.
        searched: whether its parameters were searched, on what was known before the first of all tests.
        train_since, train_until, test_since, test_until: times; the ends are not included.
        payments, frauds: of the test, without those of cards known to be compromised, which are `removed`.
        auc, average_precision, card_precision: as in the book; with intervals by card.
        log_loss, constant_log_loss: of the scores, and of the best constant.
        alerts: payments above the threshold.
        ece_alerts: the error of calibration among alerts, and what chance alone makes of a perfect calibration.
    """

    splits: str
    features: str
    history: str
    searched: bool
    train_since: str
    train_until: str
    test_since: str
    test_until: str
    trained_rows: int
    payments: int
    frauds: int
    removed: int
    auc: Figure
    average_precision: Figure
    card_precision: float
    log_loss: float
    constant_log_loss: float
    alerts: int
    ece_alerts: float | None
    ece_alerts_by_chance: float | None


class HandbookFigures(msgspec.Struct, frozen=True):
    """The lines of all splits that the file has, and the splits that it does not reach, by the begin of the test."""

    lines: tuple[HandbookLine, ...]
    not_reached: tuple[str, ...]
    search: SearchReport | None = None


class _Stream(NamedTuple):
    """The payments of the file, and the matrix and the names of each set of features."""

    table: Table
    matrices: dict[str, tuple[Floats, tuple[str, ...]]]
    complete_ms: int


class _Variant(NamedTuple):
    """Which features and parameters a model has, which rows its trees see, and on which it is calibrated."""

    features: str
    history: str
    train: Ints
    calibrate: Ints
    parameters: Mapping[str, Parameter]
    searched: bool = False


def measure_handbook(
    file: Path, feature_set: FeatureSet, effort: HandbookEffort, progress: Progress
) -> HandbookFigures:
    """Train and test on every split that the file has: the book's features and the default ones, a week and all.

    Raises:
        FileError: the file cannot be read.
        MeasurementError: it lacks columns of the book, or the feature set lacks rows of the book, or no split is in it.
    """
    missing = [name for name in BOOK_FEATURES if name not in feature_set.names]
    if missing:
        raise MeasurementError(f"the feature set lacks {', '.join(missing)}: measure with the default set")
    with tempfile.TemporaryDirectory(prefix="fraudstream-handbook-") as name:
        stream = _read(file, feature_set, Path(name), effort, progress)
        reached = [one for one in SPLITS if one.test_ms + WEEK_MS <= stream.table.last_ms + DAY_MS]
        if not reached or reached[0].train_ms - WEEK_MS < stream.complete_ms:
            raise MeasurementError(f"{file}: holds no split of the book with whole histories before it")
        searched, report = _searched(stream, reached[0], (file, feature_set, effort), progress)
        lines = list[HandbookLine]()
        for at, one in enumerate(reached):
            lines += [_line(stream, one, variant, effort) for variant in _variants(stream, one, effort, searched)]
            progress("splits", at + 1, len(reached))
    behind = (f"{one.name}, test from {format_time(one.test_ms)[:10]}" for one in SPLITS if one not in reached)
    return HandbookFigures(tuple(lines), tuple(behind), report)


def _searched(
    stream: _Stream, first: HandbookSplit, asked: tuple[Path, FeatureSet, HandbookEffort], progress: Progress
) -> tuple[Mapping[str, Parameter] | None, SearchReport | None]:
    """Search parameters on what is known when the first test begins; the last known week is validated on."""
    file, feature_set, effort = asked
    if not effort.trials:
        return None, None
    table, nothing = stream.table, np.empty(0, np.int64)
    train = _between(table.occurred_ms, stream.complete_ms, first.train_ms - WEEK_MS)
    parts = Split(train, nothing, _between(table.occurred_ms, first.train_ms, first.known_ms), nothing, (0, 0, 0))
    request = TrainingRequest(
        file=file,
        name="handbook",
        feature_set=feature_set,
        trees=effort.trees,
        leaves=effort.leaves,
        learning_rate=effort.learning_rate,
        seed=effort.seed,
        threads=effort.threads,
        trials=effort.trials,
    )
    chosen, fitted, report = search(request, effort.parameters, table, parts, progress)
    return chosen | {"num_iterations": fitted.trees}, report


def _read(file: Path, feature_set: FeatureSet, folder: Path, effort: HandbookEffort, progress: Progress) -> _Stream:
    converted = folder / "transactions.parquet"
    write_transactions(file, converted, folder)
    with TransactionsFile(converted, folder, effort.threads, needs_labels=True) as source:
        found = read_payments(source, feature_set, folder, progress)
    first_ms = int(found.table.occurred_ms[0])
    matrices = {"book": _book_matrix(found, feature_set), "default": (found.table.matrix, feature_set.names)}
    return _Stream(found.table, matrices, first_ms + reach_ms(feature_set))


def write_transactions(file: Path, out: Path, folder: Path) -> None:
    """Write the book's payments as a transactions file: cards are its customers, merchants its terminals.

    Raises:
        MeasurementError: the file cannot be read, or lacks a column of the book.
    """
    duckdb = import_duckdb()
    with connect_memory(folder, _MEMORY_MB) as connection:
        try:
            connection.execute(
                "COPY (SELECT 'h-' || TRANSACTION_ID AS transaction_id, 'c-' || CUSTOMER_ID AS card_id, "  # noqa: S608 - quoted
                "'m-' || TERMINAL_ID AS merchant_id, epoch_ms(CAST(TX_DATETIME AS TIMESTAMP)) AS occurred_at, "
                f"CAST(round(CAST(TX_AMOUNT AS DOUBLE) * {_CENTS}) AS BIGINT) AS amount_minor, 'EUR' AS currency, "
                f"CAST(TX_FRAUD AS BIGINT) = 1 AS fraud FROM read_parquet({quoted(file)}) "
                f"ORDER BY TX_DATETIME, TRANSACTION_ID) TO {quoted(out)} (FORMAT parquet)"
            )
        except duckdb.Error as error:
            wanted = ", ".join(_COLUMNS)
            raise MeasurementError(
                f"{file}: cannot be read as the book's transactions, parquet with the columns {wanted}: "
                f"{str(error).splitlines()[0]}"
            ) from error


def _book_matrix(found: FileTable, feature_set: FeatureSet) -> tuple[Floats, tuple[str, ...]]:
    columns = [feature_set.names.index(name) for name in BOOK_FEATURES]
    matrix = np.empty((len(found.table.fraud), len(columns) + 1))
    for block in row_blocks(np.arange(len(matrix))):
        matrix[block, :-1] = found.table.matrix[block][:, columns]
    matrix[:, -1] = found.columns.amount_minor / _CENTS
    return matrix, (*BOOK_FEATURES, AMOUNT)


def _variants(
    stream: _Stream, split: HandbookSplit, effort: HandbookEffort, searched: Mapping[str, Parameter] | None
) -> Iterator[_Variant]:
    """Yield the models of a split; the first two see what the book's models see."""
    times = stream.table.occurred_ms
    week = _between(times, split.train_ms, split.known_ms)
    before = _between(times, split.train_ms - WEEK_MS, split.train_ms)
    past = _between(times, stream.complete_ms, split.train_ms)
    for features in ("book", "default"):
        yield _Variant(features, "week", week, before, effort.parameters)
    for features in ("book", "default"):
        yield _Variant(features, "all", past, week, effort.parameters)
    if searched is not None:
        yield _Variant("default", "all", past, week, searched, searched=True)


def _between(times: Ints, since_ms: int, until_ms: int) -> Ints:
    return np.flatnonzero((times >= since_ms) & (times < until_ms))


def known_to_be_compromised(table: Table, split: HandbookSplit) -> Bools:
    """Tell which payments of the file are of a card that the book removes from the test on the payment's day.

    Its cards have a fraud in the seven days of training, or later, on a day at least eight days before the payment's.
    """
    days, fraud = days_of(table.occurred_ms), table.fraud == 1
    first_day = split.train_ms // DAY_MS
    counted = np.flatnonzero(fraud & (days >= first_day))
    earliest = np.full(int(table.card.max()) + 1, np.iinfo(np.int64).max // 2)
    np.minimum.at(earliest, table.card[counted], days[counted])
    delay = np.where(earliest < first_day + 7, 7, 8)
    removed: Bools = earliest[table.card] + delay[table.card] <= days
    return removed


def _line(stream: _Stream, split: HandbookSplit, variant: _Variant, effort: HandbookEffort) -> HandbookLine:
    table = stream.table
    scores, threshold, rows = _test(stream, split, variant, effort)
    test = _between(table.occurred_ms, split.test_ms, split.test_ms + WEEK_MS)
    fraud = table.fraud[rows] == 1
    auc, precision = _ranking(table.card[rows], fraud, scores)
    cards = card_precision(ScoredRows(days_of(table.occurred_ms[rows]), table.card[rows], scores, fraud), CARDS_A_DAY)
    alerted = scores >= threshold
    return HandbookLine(
        splits=split.name,
        features=variant.features,
        history=variant.history,
        searched=variant.searched,
        train_since=format_time(int(table.occurred_ms[variant.train[0]])),
        train_until=format_time(split.known_ms if variant.history == "week" else split.train_ms),
        test_since=format_time(split.test_ms),
        test_until=format_time(split.test_ms + WEEK_MS),
        trained_rows=len(variant.train),
        payments=len(rows),
        frauds=int(fraud.sum()),
        removed=len(test) - len(rows),
        auc=auc,
        average_precision=precision,
        card_precision=cards.mean or 0.0,
        log_loss=float(log_losses(fraud, scores).mean()),
        constant_log_loss=float(constant_log_loss(np.array([fraud.mean()]))[0]),
        alerts=int(alerted.sum()),
        ece_alerts=alert_error(fraud[alerted], scores[alerted], ALERT_BINS),
        ece_alerts_by_chance=error_by_chance(scores[alerted], ALERT_BINS, effort.seed),
    )


def _test(
    stream: _Stream, split: HandbookSplit, variant: _Variant, effort: HandbookEffort
) -> tuple[Floats, float, Ints]:
    """Train a model, and return its scores of the test, the threshold of alerts, and the rows that are tested."""
    table, (matrix, names) = stream.table, stream.matrices[variant.features]
    rows = FitRows(matrix, variant.train, table.fraud[variant.train])
    fitted = fit(rows, names, {**variant.parameters, "num_threads": effort.threads}, lambda _trees: None)
    booster = Booster(fitted.text, names)
    calibrated_on = _margins(booster, matrix, variant.calibrate)
    calibrator = Calibrator.of(calibrate(calibrated_on, table.fraud[variant.calibrate]))
    shares = Shares()
    policy = choose_policy(calibrator.probabilities(calibrated_on), shares.review, shares.decline)
    test = _between(table.occurred_ms, split.test_ms, split.test_ms + WEEK_MS)
    tested = test[~known_to_be_compromised(table, split)[test]]
    return calibrator.probabilities(_margins(booster, matrix, tested)), policy.review_at, tested


def _margins(booster: Booster, matrix: Floats, rows: Ints) -> Floats:
    return np.concatenate([booster.margins(np.asarray(matrix[block])) for block in row_blocks(rows)])


def _ranking(cards: Ints, fraud: Bools, scores: Floats) -> tuple[Figure, Figure]:
    plan = BootstrapPlan(draws=_DRAWS)
    ((auc, precision),) = CardDraws(cards, plan).rankings(
        fraud, [(WeightedRanking(fraud, scores), np.arange(len(fraud)))]
    )
    return auc.figure(plan), precision.figure(plan)


class HandbookMean(NamedTuple):
    """Means over the splits of one name, of one kind of model."""

    splits: str
    features: str
    history: str
    searched: bool
    auc: float
    average_precision: float
    card_precision: float
    below_constant: int
    """Splits with a log loss below the constant's."""
    worst_ece: float | None
    of: int


def _kind(line: HandbookLine) -> tuple[str, str, str, bool]:
    return line.splits, line.features, line.history, line.searched


def means(lines: Sequence[HandbookLine]) -> list[HandbookMean]:
    """Return the means over splits, for each name of splits and kind of model."""
    found = []
    for key in dict.fromkeys(_kind(one) for one in lines):
        own = [one for one in lines if _kind(one) == key]
        errors = [one.ece_alerts for one in own if one.ece_alerts is not None]
        found.append(
            HandbookMean(
                *key,
                float(np.mean([one.auc.value for one in own])),
                float(np.mean([one.average_precision.value for one in own])),
                float(np.mean([one.card_precision for one in own])),
                sum(one.log_loss < one.constant_log_loss for one in own),
                max(errors, default=None),
                len(own),
            )
        )
    return found
