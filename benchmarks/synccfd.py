"""What distances that a deployment declares are worth: SynCCFD, a generator of payments whose places are known.

The package synccfd (MIT) draws customers and terminals in Brazilian cities, and four kinds of fraud: amounts above 220
(1), terminals that are compromised for 28 days (2), card numbers that are stolen for 14 days (3: a third of the card's
payments, remote, shipped to one place of the thief's) and cards that are stolen for 5 days (4: all payments, near the
city). Amounts of the last two are five times as high.

`train` sees what a deployment knows on day 29: the payments until then, and labels that come 7 days late. It leaves out
the first quarter of the labelled days, and fits days 5 to 21. Days 29 to 39 are measured, without cards that are known
to be compromised, as in `evaluate`.

This module is one for `FRAUDSTREAM_FEATURES`, too: `FIELDS` and `FEATURES` declare the distances.
"""

import contextlib
import importlib
import importlib.metadata
import io
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from features.declaration import DAY_MS, Feature, FeatureSet, load
from features.history.store import Ints
from features.own_fields import DeclaredFields
from features.vector.sets import FeatureSets
from fraudstream.features import DEFAULT_2, Formula, OwnPayment, distance_km, number, own
from fraudstream.lab.dataset.database import connect_memory, import_duckdb, quoted
from fraudstream.lab.dataset.file import TransactionsFile
from fraudstream.lab.dataset.own_columns import OwnColumns
from fraudstream.lab.evaluation.payments import FileTable, payments_of, read_payments
from fraudstream.lab.rescoring.rescore import usable_model
from fraudstream.lab.training.request import TrainingRequest
from fraudstream.lab.training.run import train
from fraudstream.lab.training.vectors import score_blocks
from fraudstream.ops.rollout.verdict.figures import Figure
from metrics.columns import Bools, Floats
from metrics.paired_ranking import paired_average_precision
from metrics.ranking import average_precision
from models.repository import Repository
from models.times import stated_ms
from stream.errors import MeasurementError

PACKAGE, VERSION = "synccfd", "0.1.0"
CUSTOMERS, TERMINALS, DAYS, STREAM_SEED = 800, 1_500, 40, 42
START = "2018-04-01"
KNOWN_DAYS = 29
"""The model is made when so many days have been; what comes later is measured."""
LABEL_DELAY_DAYS = 7
SCENARIOS = (1, 2, 3, 4)
_MEMORY_MB = 512
_CENTS = 100

FIELDS = tuple(
    number(
        f"{place}_{axis}", decimals=5, unit="degrees", meaning=f"{axis} of the {place} address", least=-most, most=most
    )
    for place in ("billing", "shipping")
    for axis, most in (("latitude", 90), ("longitude", 180))
)


def terminal_from_billing(payment: OwnPayment) -> float | None:
    """Return the km from the billing address to the terminal."""
    here = payment["latitude"], payment["longitude"]
    return distance_km(*here, payment["billing_latitude"], payment["billing_longitude"])


def shipping_from_billing(payment: OwnPayment) -> float | None:
    """Return the km between the two addresses."""
    here = payment["shipping_latitude"], payment["shipping_longitude"]
    return distance_km(*here, payment["billing_latitude"], payment["billing_longitude"])


def terminal_from_shipping(payment: OwnPayment) -> float | None:
    """Return the km from the shipping address to the terminal."""
    here = payment["latitude"], payment["longitude"]
    return distance_km(*here, payment["shipping_latitude"], payment["shipping_longitude"])


DISTANCES: tuple[Feature, ...] = (
    own(Formula("terminal_from_billing", 1, terminal_from_billing, "km", "terminal from the billing address")),
    own(Formula("shipping_from_billing", 1, shipping_from_billing, "km", "shipping from the billing address")),
    own(
        Formula("terminal_from_shipping", 1, terminal_from_shipping, "km", "from the shipping address to the terminal")
    ),
)
FEATURES = (*DEFAULT_2, *DISTANCES)
CONTRACT_ROWS = tuple(map(own, ("amount", "channel", "mcc", "merchant_country", "card_country")))

Progress = Callable[[str, int, int], None]


def feature_sets() -> dict[str, FeatureSet]:
    """Return what is compared: the default set, that with own fields of the contract, and that with the distances."""
    return {
        "default": load("features.default_set_2"),
        "contract": FeatureSet((*DEFAULT_2, *CONTRACT_ROWS)),
        "distances": FeatureSet(FEATURES, DeclaredFields(FIELDS)),
    }


class SynccfdLine(msgspec.Struct, frozen=True, kw_only=True):
    """One model: its features, its seed, and how it ranks the payments that are measured.

    Attributes:
        features: "default", "contract" or "distances".
        seed: of the training. Without a search of parameters nothing is drawn, so all seeds give the same trees.
        trees: so many were kept.
        average_precision: of all frauds.
        scenarios: of the frauds of each scenario among the genuine payments.
        difference: the average precision less that of the default set of the same seed, paired by card; None for that.
    """

    features: str
    seed: int
    trees: int
    average_precision: float
    scenarios: dict[int, float]
    difference: Figure | None


class SynccfdFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The lines of all models, and the payments and frauds that they were measured on."""

    payments: int
    frauds: int
    lines: tuple[SynccfdLine, ...]


class SynccfdFiles(NamedTuple):
    """Transactions files of what is known when the model is made and of the whole stream, and each row's scenario."""

    known: Path
    whole: Path
    scenarios: NDArray[np.int64]


class _Measured(NamedTuple):
    """The rows of the whole stream that are measured, and their columns."""

    rows: Ints
    card: Ints
    fraud: Bools
    scenario: NDArray[np.int64]

    def ranking(self, scores: Floats, scenario: int | None = None) -> float:
        """Return the average precision of all frauds, or of those of a scenario among the genuine payments."""
        kept = slice(None) if scenario is None else ~self.fraud | (self.scenario == scenario)
        return average_precision(self.fraud[kept].astype(np.int8), scores[kept]) or 0.0


def measure_synccfd(seeds: int, threads: int, progress: Progress) -> SynccfdFigures:
    """Draw the stream, train each feature set with the seeds 1 to `seeds`, and measure the models.

    Raises:
        MeasurementError: synccfd is not installed, or another version of it.
        TrainingError: a model cannot be trained.
    """
    with tempfile.TemporaryDirectory(prefix="fraudstream-synccfd-") as name:
        folder = Path(name)
        progress("draw", 0, 1)
        files = write_files(drawn_stream(folder), folder)
        progress("draw", 1, 1)
        return measure_files(files, folder, seeds, threads, progress)


def drawn_stream(folder: Path) -> Path:
    """Draw the payments, which takes some 15 seconds, and return a parquet file of them in `folder`.

    Raises:
        MeasurementError: synccfd is not installed, or another version of it.
    """
    try:
        version = importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        version = "none"
    if version != VERSION:
        raise MeasurementError(
            f"the stream is drawn by {PACKAGE} {VERSION}, and {version} is installed: "
            f"`pip install {PACKAGE}=={VERSION}` into this environment (it brings geopandas; fraudstream needs neither)"
        )
    printed = io.StringIO()  # it prints as it goes, and newer versions of pandas warn of what it does
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        generator = importlib.import_module(PACKAGE).DatasetGenerator(
            n_customers=CUSTOMERS, n_terminals=TERMINALS, nb_days=DAYS, start_date=START, random_state=STREAM_SEED
        )
        _, _, payments = generator.generate()
    payments.to_parquet(folder / "drawn.parquet", index=False)
    return folder / "drawn.parquet"


def write_files(drawn: Path, folder: Path) -> SynccfdFiles:
    """Write the payments of the generator as transactions files: cards are its customers, merchants its terminals.

    Raises:
        MeasurementError: the file is none of the generator's.
    """
    duckdb = import_duckdb()
    known, whole = folder / "known.parquet", folder / "whole.parquet"
    with connect_memory(folder, _MEMORY_MB) as connection:
        try:
            connection.execute(f"CREATE TABLE payments AS {_AS_TRANSACTIONS} FROM read_parquet({quoted(drawn)})")
            for file, until_ms in ((known, _day_ms(KNOWN_DAYS)), (whole, _day_ms(DAYS))):
                connection.execute(
                    f"COPY (SELECT * EXCLUDE (scenario) FROM payments WHERE occurred_at < {until_ms} "  # noqa: S608 - our own
                    f"ORDER BY {_ORDER}) TO {quoted(file)} (FORMAT parquet)"
                )
            rows = connection.execute(f"SELECT scenario FROM payments ORDER BY {_ORDER}").fetchnumpy()  # noqa: S608
        except duckdb.Error as error:
            raise MeasurementError(
                f"{drawn}: cannot be read as payments of {PACKAGE} {VERSION}: {str(error).splitlines()[0]}"
            ) from error
    return SynccfdFiles(known, whole, np.asarray(rows["scenario"], np.int64))


_ORDER = "occurred_at, transaction_id"
_AS_TRANSACTIONS = (
    "SELECT 's-' || TRANSACTION_ID AS transaction_id, 'c-' || CUSTOMER_ID AS card_id, "
    "'m-' || TERMINAL_ID AS merchant_id, "
    "epoch_ms(CAST(TX_DATETIME AS TIMESTAMP)) AS occurred_at, "
    f"CAST(round(TX_AMOUNT * {_CENTS}) AS BIGINT) AS amount_minor, 'BRL' AS currency, "
    "CASE TX_TYPE WHEN 'CP' THEN 'pos' ELSE 'ecommerce' END AS channel, "
    "TX_TERM_LAT AS latitude, TX_TERM_LONG AS longitude, "
    "TX_BILL_LAT AS billing_latitude, TX_BILL_LONG AS billing_longitude, TX_SHIPP_LAT AS shipping_latitude, "
    "TX_SHIPP_LONG AS shipping_longitude, CAST(TX_FRAUD AS BIGINT) = 1 AS fraud, "
    f"occurred_at + {LABEL_DELAY_DAYS * DAY_MS} AS labelled_at, CAST(TX_FRAUD_SCENARIO AS BIGINT) AS scenario"
)


def _day_ms(day: int) -> int:
    return stated_ms(f"{START}T00:00:00Z") + day * DAY_MS


def measure_files(files: SynccfdFiles, folder: Path, seeds: int, threads: int, progress: Progress) -> SynccfdFigures:
    """Train each feature set with the seeds 1 to `seeds` on what is known, and measure the models on the rest.

    Raises:
        TrainingError: a model cannot be trained.
    """
    lines, bases = list[SynccfdLine](), dict[int, Floats]()
    sets = feature_sets()
    for at, (name, feature_set) in enumerate(sets.items()):
        place = folder / name
        place.mkdir()
        with TransactionsFile(files.whole, place, threads, own=OwnColumns.of(feature_set), needs_labels=True) as source:
            file = read_payments(source, feature_set, place, _silent)
        measured = _measured(file, files.scenarios)
        for seed in range(1, seeds + 1):
            request = TrainingRequest(file=files.known, name=name, feature_set=feature_set, seed=seed, threads=threads)
            scores, trees = _scores(request, file, measured.rows, place)
            base = bases.setdefault(seed, scores)  # the default set comes first
            lines.append(
                SynccfdLine(
                    features=name,
                    seed=seed,
                    trees=trees,
                    average_precision=measured.ranking(scores),
                    scenarios={one: measured.ranking(scores, one) for one in SCENARIOS},
                    difference=None if at == 0 else _difference(measured, scores, base),
                )
            )
            progress("models", len(lines), seeds * len(sets))
    return SynccfdFigures(payments=len(measured.rows), frauds=int(measured.fraud.sum()), lines=tuple(lines))


def _scores(request: TrainingRequest, file: FileTable, rows: Ints, place: Path) -> tuple[Floats, int]:
    """Train a model; return its scores of some rows of the whole stream, and how many trees it has."""
    url = str(place / "models")
    report = train(request, Repository(url), _silent)
    model = usable_model(url, report.digest, FeatureSets((request.feature_set,)))
    return score_blocks(model.score, file.table, rows), report.trees


def _measured(file: FileTable, scenarios: NDArray[np.int64]) -> _Measured:
    table = file.table
    if not np.array_equal(scenarios > 0, table.fraud == 1):
        raise MeasurementError("the rows of the stream are not in the order of their scenarios: report it")
    rows = np.flatnonzero(table.decided & (table.occurred_ms >= _day_ms(KNOWN_DAYS)))
    payments = payments_of(file, rows, table.fraud)
    kept = ~payments.blocked
    return _Measured(rows[kept], payments.card[kept], payments.fraud[kept], scenarios[rows[kept]])


def _difference(measured: _Measured, scores: Floats, base: Floats) -> Figure:
    found = paired_average_precision(measured.fraud, (scores, base), measured.card)
    return Figure(None) if found is None else Figure(found.difference, found.difference_interval)


def _silent(_stage: str, _done: int, _total: int) -> None:
    """Report nothing: a model takes some ten seconds."""
