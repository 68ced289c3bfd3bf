"""Feature sets of any mix of entities, drawn for properties, and worlds in which models of such sets are live."""

from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from hypothesis import strategies as st

from features.declaration import Feature, FeatureSet
from features.formulas import Formula, Payments
from features.rows import card, device, merchant, own, paned
from features.vector.sets import FeatureSets
from models.loading import Model, load_for_replay
from models.repository import Repository
from stream.settings import Settings
from support.model_artifacts import artifact
from support.rescoring.world import World
from support.training_files import START_MS


def largest_amount_before(_own: Payments, others: Payments) -> float | None:
    """Return the largest amount of the others."""
    return float(others.amount.max()) if len(others) else None


LARGEST = Formula("largest_before", 1, largest_amount_before, "major units", "largest amount of the others")
CARDS = (
    card("count", "10m"),
    card("amount_sum", "60d"),
    card("seconds_since_last"),
    card("merchant_first", "30d"),
    card("fraud_share", "30d", delay="7d"),
    card(LARGEST, "7d"),
    card("amount_to_earlier_median", "10d"),
    card("large_amounts", "7d"),
)
OWN = (own("is_night"), own("is_weekend"))
MERCHANTS = (
    merchant("count", "1d", delay="7d"),
    merchant("amount_sum", "30d"),
    merchant("cards", "1d"),
    merchant("fraud_share", "60d"),
    merchant("seconds_since_last"),
    merchant(LARGEST, "30d"),
    merchant("fraud_run", "30d", delay="7d"),
    merchant("fraud_share_of_last_5", "7d"),
)
PANED_MERCHANTS = (
    paned(merchant("count", "1d", delay="7d"), "1h"),
    paned(merchant("amount_mean", "30d"), "1d"),
    paned(merchant("fraud_share", "7d", delay="1d"), "6h"),
    merchant("cards", "1h"),
)
DEVICES = (
    device("count", "1h"),
    device("cards", "30d"),
    device("fraud_share", "7d"),
    device("seconds_since_last"),
    device(LARGEST, "1d"),
)
PANED_DEVICES = (
    paned(device("amount_max", "7d"), "1d"),
    paned(device("fraud_share", "30d"), "1d"),
    device("count", "10m"),
)


def _some(rows: tuple[Feature, ...]) -> st.SearchStrategy[tuple[Feature, ...]]:
    """Draw some rows, or none, in the order of the table."""
    chosen = st.lists(st.booleans(), min_size=len(rows), max_size=len(rows))
    return chosen.map(lambda flags: tuple(row for row, is_in in zip(rows, flags, strict=True) if is_in))


_parts = st.tuples(
    _some(OWN + CARDS),
    st.one_of(_some(MERCHANTS), _some(PANED_MERCHANTS)),
    st.one_of(_some(DEVICES), _some(PANED_DEVICES)),
)
feature_sets = (
    st.permutations(range(3))
    .flatmap(lambda order: _parts.map(lambda parts: tuple(row for at in order for row in parts[at])))
    .filter(bool)
    .map(FeatureSet)
)
"""Sets of cards, merchants and devices, of some of them or of none, in any order, with paned rows or without."""
sets_side_by_side = st.lists(feature_sets, min_size=1, max_size=2, unique_by=lambda one: one.fingerprint).map(
    lambda some: FeatureSets(tuple(some))
)
"""One set, or two as a worker has them while a deployment replaces its set."""


class Deployment(NamedTuple):
    """A world with one or two feature sets, and a model of each; the first one is live."""

    world: World
    models: tuple[Model, ...]

    def promote(self, which: int) -> None:
        """Make the model of another set live."""
        self.world.model = self.models[which % len(self.models)]


def deployment(folder: Path, sets: FeatureSets) -> Deployment:
    """Make such a world, whose models are in a repository in `folder`."""
    models = tuple(_model(folder, one.fingerprint, one.names) for one in sets.sets)
    return Deployment(World(Settings(models=str(folder)), models[0], sets, START_MS), models)


@lru_cache(maxsize=64)
def _model(folder: Path, fingerprint: str, names: tuple[str, ...]) -> Model:
    """Train a model that depends on the values of some features, if hardly on their meaning."""
    repository = Repository(str(folder))
    found = load_for_replay(repository, repository.put(artifact(names, fingerprint=fingerprint)))
    assert isinstance(found, Model)
    return found
