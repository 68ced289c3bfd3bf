"""Leaks that were planted are refused by name; features that are merely good are not."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.declaration import FeatureSet
from features.formulas import Formula
from features.own_fields import DeclaredFields, category, flag, number
from features.rows import card, merchant, own
from fraudstream.lab.training.import_run import import_model
from fraudstream.lab.training.leaks import FEWEST_FRAUDS, Leak, constant_on_cards, find_leaks, refuse_leaks
from fraudstream.lab.training.request import LeakError, ModelFileError, TrainingRequest
from fraudstream.lab.training.run import train
from fraudstream.lab.training.vectors import Table
from models.artifact import read_manifest
from models.repository import Repository
from models.times import parse_time_ms
from support.own_models import FEATURES, computed, labelled, request_for, rows_of, saved
from support.tables import FOUR, learnable
from support.training_files import silent, transactions, write

NAME = FOUR.names[1]
DATA = learnable(days=60)
ROWS = np.flatnonzero(DATA.known)


def planted(change: Callable[[Table, np.ndarray], None]) -> list[Leak]:
    """Return the leaks of a table whose second column was changed."""
    data = copy.deepcopy(DATA)
    change(data, data.matrix[:, 1])
    return list(find_leaks(data, ROWS, FOUR))


def test_features_that_are_merely_good_are_no_leaks() -> None:
    assert planted(lambda _data, _column: None) == []


def _label(data: Table, column: np.ndarray) -> None:
    column[:] = data.fraud


def _reversed(data: Table, column: np.ndarray) -> None:
    column[:] = 1 - data.fraud


def _scaled(data: Table, column: np.ndarray) -> None:
    column[:] = np.where(data.fraud == 1, np.random.default_rng(1).normal(7e20, 1e18, len(column)), 3e19)


def _in_a_band(data: Table, column: np.ndarray) -> None:
    random = np.random.default_rng(1)
    column[:] = np.where(data.fraud == 1, random.uniform(0.4, 0.5, len(column)), random.uniform(0, 1, len(column)))
    column[(data.fraud == 0) & (column > 0.39) & (column < 0.51)] += 0.2


def _nearly(data: Table, column: np.ndarray) -> None:
    column[:] = np.where(np.random.default_rng(1).random(len(column)) < 0.0005, 1 - data.fraud, data.fraud)


def _for_frauds_alone(data: Table, column: np.ndarray) -> None:
    column[:] = np.where(data.fraud == 1, np.arange(len(column)), np.nan)


def _for_genuine_alone(data: Table, column: np.ndarray) -> None:
    column[:] = np.where(data.fraud == 1, np.nan, np.arange(len(column)))


def _with_the_label(data: Table, column: np.ndarray) -> None:
    column[:] = np.where(data.known, np.random.default_rng(1).normal(size=len(column)), np.nan)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_label, "is the label itself"),
        (_reversed, "is the label itself"),
        (_scaled, "gives the label away: average precision 1.000 by this feature alone"),
        (_in_a_band, "gives the label away: average precision"),
        (_nearly, "gives the label away: average precision 0.9"),
        (_for_frauds_alone, "is undefined for all genuine payments and for no others: it is made from the label"),
        (_for_genuine_alone, "is undefined for all frauds and for no others: it is made from the label"),
        (_with_the_label, "is known later than the decision: it is set in 100% of the payments with a label, and in 0"),
    ],
)
def test_a_column_that_knows_the_label_is_named_with_the_reason(
    change: Callable[[Table, np.ndarray], None], reason: str
) -> None:
    (leak,) = planted(change)
    assert leak.feature == NAME
    assert leak.reason.startswith(reason)


def test_a_feature_is_not_judged_by_few_frauds() -> None:
    data = copy.deepcopy(DATA)
    data.matrix[:, 1] = data.fraud * 7
    frauds = ROWS[data.fraud[ROWS] == 1][: FEWEST_FRAUDS - 1]
    rows = np.sort(np.concatenate((frauds, ROWS[data.fraud[ROWS] == 0])))
    assert list(find_leaks(data, rows, FOUR)) == []
    assert list(find_leaks(data, rows[data.fraud[rows] == 0], FOUR)) == []


@pytest.mark.parametrize("change", [_label, _reversed, _for_frauds_alone, _for_genuine_alone])
def test_the_label_itself_is_found_among_few_frauds(change: Callable[[Table, np.ndarray], None]) -> None:
    data = copy.deepcopy(DATA)
    data.fraud[np.flatnonzero(data.fraud == 1)[10:]] = 0
    change(data, data.matrix[:, 1])
    (leak,) = find_leaks(data, ROWS, FOUR)
    assert leak.feature == NAME


def test_a_leak_is_found_where_frauds_are_rare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fraudstream.lab.training.leaks._MOST_ROWS", 500)
    data = learnable(days=400)
    frauds = np.flatnonzero(data.fraud == 1)
    data.fraud[frauds[np.arange(len(frauds)) % 40 > 0]] = 0
    rows = np.flatnonzero(data.known)
    assert data.fraud[rows[-500:]].sum() < FEWEST_FRAUDS < data.fraud[rows].sum()
    data.matrix[:, 0] = np.arange(len(data.fraud))  # it moves with time, and says nothing of fraud
    _scaled(data, data.matrix[:, 1])
    (leak,) = find_leaks(data, rows, FOUR)
    assert leak.feature == NAME
    # as many genuine payments as frauds look alike: of the rows that are kept, frauds are far too large a part
    likely = np.flatnonzero((data.fraud == 0) & (np.random.default_rng(2).random(len(data.fraud)) < 0.02))
    data.matrix[likely, 1] = np.random.default_rng(1).normal(7e20, 1e18, len(likely))
    assert list(find_leaks(data, rows, FOUR)) == []


@given(st.integers(0, 1_000), st.floats(0.001, 0.02))
def test_no_column_of_noise_is_a_leak(seed: int, rate: float) -> None:
    random = np.random.default_rng(seed)
    data = copy.deepcopy(DATA)
    data.fraud[:] = random.random(len(data.fraud)) < rate
    data.matrix[:] = random.choice([random.normal(size=data.matrix.shape), random.integers(0, 3, data.matrix.shape)])
    assert list(find_leaks(data, ROWS, FOUR)) == []


def test_all_leaks_are_named_at_once_and_accepted_ones_become_warnings() -> None:
    leaks = [Leak("a", "is the label itself"), Leak("b", "gives the label away")]
    with pytest.raises(LeakError, match=r"a is the label itself\nb gives the label away\ncompute features from what"):
        refuse_leaks(leaks, ())
    with pytest.raises(LeakError, match=r"^a is the label itself\ncompute"):
        refuse_leaks(leaks, ("b",))
    assert refuse_leaks(leaks, ("a", "b")) == ("a is the label itself: accepted", "b gives the label away: accepted")


# --- three leaks, planted where they come in


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A vectors file, and a model that was trained elsewhere on its first half; no test changes them."""
    folder = tmp_path_factory.mktemp("own")
    computed(folder / "vectors.parquet", labelled())
    saved(folder / "model.txt", rows_of(folder / "vectors.parquet"), seed=3)
    return folder


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(str(tmp_path / "models"))


def changed(folder: Path, out: Path, column: Callable[[pa.Table], Any], name: str = "card_count_1h") -> Path:
    """Write the vectors with one other column, and with their metadata."""
    table = pq.read_table(folder / "vectors.parquet")
    place = table.column_names.index(name)
    new = table.set_column(place, name, pa.array(np.asarray(column(table), np.float64), from_pandas=True))
    pq.write_table(new.replace_schema_metadata(table.schema.metadata), out)
    return out


def test_a_model_with_the_label_among_its_columns_is_refused(
    folder: Path, tmp_path: Path, repository: Repository
) -> None:
    matrix, frauds = rows_of(folder / "vectors.parquet")
    saved(tmp_path / "model.txt", (np.column_stack((matrix, frauds)), frauds), (*FEATURES.names, "fraud"))
    with pytest.raises(ModelFileError, match="was trained with the label among its columns: 'fraud'; train on the"):
        import_model(request_for(folder, file=tmp_path / "model.txt"), repository, silent)


def test_vectors_with_the_label_in_a_feature_are_refused(folder: Path, tmp_path: Path, repository: Repository) -> None:
    vectors = changed(folder, tmp_path / "v.parquet", lambda table: table.column("fraud").to_numpy())
    with pytest.raises(LeakError) as caught:
        import_model(request_for(folder, vectors=vectors), repository, silent)
    lines = str(caught.value).splitlines()
    assert "card_count_1h is the label itself" in lines
    assert any(line.startswith("card_count_1h has other values than at the decision: in ") for line in lines)
    assert repository.digests() == ()


def test_vectors_with_a_count_of_what_came_later_are_refused(
    folder: Path, tmp_path: Path, repository: Repository
) -> None:
    def of_the_whole_file(table: pa.Table) -> np.ndarray:
        """Count a card's payments of the whole file, before and after."""
        cards = table.column("card_id").to_numpy()
        return np.array([int((cards == one).sum()) for one in cards])

    vectors = changed(folder, tmp_path / "v.parquet", of_the_whole_file, "card_count_1h")
    with pytest.raises(
        LeakError, match=r"^card_count_1h has other values than at the decision: in (\d+) of \1 payments"
    ):
        import_model(request_for(folder, vectors=vectors), repository, silent)
    accepted = import_model(request_for(folder, vectors=vectors, accepted=("card_count_1h",)), repository, silent)
    assert accepted.warnings[0].startswith("card_count_1h has other values")
    manifest = read_manifest(repository.fetch(accepted.digest)["manifest.json"])
    assert manifest.weaknesses == accepted.warnings[:1]


class Telltale:
    """A formula that knows the frauds of a file by their amounts and times, as one that reads a table of its own."""

    def __init__(self, columns: dict[str, list[Any]]) -> None:
        times = (parse_time_ms(time).epoch_ms for time in columns["occurred_at"])
        rows = zip(times, columns["amount_minor"], columns["fraud"], strict=True)
        self.frauds = {(time, amount / 100) for time, amount, fraud in rows if fraud}

    def __call__(self, own: Any, _others: Any) -> float:
        return 5.0 if (int(own.time_ms), float(own.amount)) in self.frauds else 0.5


def test_training_with_a_formula_that_gives_the_label_away_is_refused(tmp_path: Path, repository: Repository) -> None:
    columns = transactions()
    telltale = Formula("telltale", 1, Telltale(columns), "ratio", "reads what came later")
    features = FeatureSet((card("count", "1d"), card(telltale, "1d"), own("is_night")))
    file = write(tmp_path / "a.parquet", columns)
    request = TrainingRequest(file=file, name="card", feature_set=features, trees=10, threads=1, accept_weak=True)
    with pytest.raises(LeakError, match=r"card_telltale_1d gives the label away: average precision 1.000"):
        train(request, repository, silent)
    assert repository.digests() == ()
    report = train(replace(request, accepted=("card_telltale_1d",)), repository, silent)
    assert report.warnings[0].startswith("card_telltale_1d gives the label away")
    with pytest.raises(ValueError, match="accept: no feature is called card_no_1d"):
        replace(request, accepted=("card_no_1d",))


def test_training_on_labels_that_are_known_at_once_is_refused_where_a_feature_counts_them_without_delay(
    tmp_path: Path, repository: Repository
) -> None:
    columns = transactions()
    file = write(tmp_path / "a.parquet", columns | {"labelled_at": columns["occurred_at"]})
    features = FeatureSet((card("count", "1d"), merchant("fraud_share", "7d"), own("is_night")))
    request = TrainingRequest(file=file, name="card", feature_set=features, trees=10, threads=1, accept_weak=True)
    with pytest.raises(LeakError, match="merchant_fraud_share_7d counts labels as soon as they are known, and 100% of"):
        train(request, repository, silent)
    delayed = FeatureSet((card("amount_sum", "1h"), merchant("fraud_share", "7d", delay="7d"), own("is_night")))
    assert train(replace(request, feature_set=delayed), repository, silent).warnings == ()


OWN = FeatureSet(
    (card("count", "1d"), own("age"), own("bin"), own("passed"), own("card_country"), own("mcc")),
    DeclaredFields((number("age"), category("bin"), flag("passed"))),
)


def of_cards(columns: Callable[[np.random.Generator, np.ndarray], list[np.ndarray]], *, days: int = 30) -> list[str]:
    """Return what is told of the own fields of 4,000 payments of 400 cards."""
    random = np.random.default_rng(3)
    cards, times = random.integers(0, 400, 4_000), np.sort(random.integers(0, days * 86_400_000, 4_000))
    matrix = np.column_stack([np.ones(4_000), *columns(random, cards)]).astype(np.float64)
    ones: Any = np.ones(4_000, np.int64)
    decided = np.ones(4_000, np.bool_)
    return list(constant_on_cards(Table(matrix, times, ones, ones, cards, decided, ones, ones), OWN))


def anything(random: np.random.Generator) -> list[np.ndarray]:
    return [random.integers(0, 9, 4_000) for _ in range(5)]


def test_a_number_that_no_card_changes_is_named_and_so_are_categories_that_may_belong_to_the_card() -> None:
    def todays(random: np.random.Generator, cards: np.ndarray) -> list[np.ndarray]:
        gaps = np.where(random.random(4_000) < 0.1, np.nan, cards * 7.0)
        return [gaps, cards % 30, cards % 2, cards % 4, cards % 5]

    number_told, others = of_cards(todays)
    assert number_told.startswith("own_age has one value for each card in all of its payments")
    assert "today's value in old rows" in number_told
    assert others.startswith("own_bin, own_passed, own_card_country: one value for each card")
    assert "such as its BIN" in others


@pytest.mark.parametrize(
    "columns",
    [
        lambda random, _: anything(random),
        lambda random, cards: [cards + random.integers(0, 2, 4_000), *anything(random)[1:]],  # it changes
        lambda random, _: [np.full(4_000, 7), (random.random(4_000) < 0.001), *anything(random)[2:]],  # all alike, rare
        lambda random, _: [np.full(4_000, np.nan), *anything(random)[1:]],
    ],
)
def test_what_changes_is_alike_for_all_cards_or_rare_is_not_named(columns: Any) -> None:
    assert of_cards(columns) == []


def test_cards_of_less_than_three_days_tell_nothing() -> None:
    assert of_cards(lambda random, cards: [cards, *anything(random)[1:]], days=2) == []


def test_train_warns_of_a_column_of_todays_values_and_stores_the_model(tmp_path: Path) -> None:
    columns = transactions()
    ages = {card_id: at for at, card_id in enumerate(dict.fromkeys(columns["card_id"]))}
    columns["age"] = [ages[card_id] for card_id in columns["card_id"]]
    feature_set = FeatureSet((*FEATURES.rows, own("age")), OWN.fields)
    wanted = TrainingRequest(
        file=write(tmp_path / "a.parquet", columns), name="card", feature_set=feature_set, trees=4, threads=1,
        patience=0, accept_weak=True, refit=False,
    )  # fmt: skip
    repository = Repository(str(tmp_path / "models"))
    report = train(wanted, repository, silent)
    assert [one for one in report.warnings if one.startswith("own_age has one value")]
    assert report.digest in repository.digests()
