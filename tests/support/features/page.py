"""The generated parts of the page about features: the shipped tables, and the description of each aggregate."""

import inspect
import re
from collections.abc import Callable, Sequence

from features.aggregates import AGGREGATES, Aggregate, aggregate_info, aggregate_name
from features.declaration import DAY_MS, Feature, FeatureSet, load, window_text
from features.history.store import ENTITY_TEXT, Entity
from features.vector.vectorise import COMPUTED_BY

Table = Callable[[tuple[str, ...], Sequence[tuple[str, ...]]], str]
HEADINGS = ("#", "name", "window", "delay", "unit", "meaning", "arrival")
SECTIONS = ("Formula", "Edges", "Source")


def default(table: Table) -> str:
    """Write the default table with its horizons and its fingerprint."""
    return shown(table, load(None), 0)


def default_2(table: Table) -> str:
    """Write the rows that the second default table has beyond the first one."""
    return shown(table, load("features.default_set_2"), len(load(None)))


def extended(table: Table) -> str:
    """Write the rows that the extended table has beyond the default one."""
    return shown(table, load("features.extended_set"), len(load(None)))


def shown(table: Table, feature_set: FeatureSet, first: int) -> str:
    rows = [(str(number), *cells(row)) for number, row in enumerate(feature_set.rows) if number >= first]
    horizons = ", ".join(
        f"of {ENTITY_TEXT[kind]} {horizon_ms // DAY_MS} days" for kind, horizon_ms in feature_set.horizons_ms.items()
    )
    return f"{table(HEADINGS, rows)}\n\nHorizons: {horizons}. Fingerprint: `{feature_set.fingerprint}`."


def cells(feature: Feature) -> tuple[str, ...]:
    window = "" if feature.window_ms is None else window_text(feature.window_ms)
    delay = window_text(feature.delay_ms) if feature.delay_ms else ""
    arrival = "depends" if feature.depends_on_arrival else ""
    return (f"`{feature.name}`", window, delay, feature.unit, feature.meaning, arrival)


def aggregates(_: Table) -> str:
    """Write each aggregate with its formula, its edges and its source."""
    return "\n\n".join(map(described, AGGREGATES))


def described(aggregate: Aggregate) -> str:
    general = AGGREGATES[aggregate]
    asked = [kind for kind in Entity if kind in general.of]
    names = list(dict.fromkeys(f"`{aggregate_name(aggregate, kind)}`" for kind in asked))
    units = list(dict.fromkeys(aggregate_info(aggregate, kind).unit for kind in asked))
    summary, sections = explained(aggregate)
    lines = [
        f"**{', '.join(names)}** (of {', '.join(ENTITY_TEXT[kind] for kind in asked)}; {', '.join(units)}). {summary}"
    ]
    return "\n".join([*lines, *(f"- {name}: {sections[name]}" for name in SECTIONS)])


def explained(aggregate: Aggregate) -> tuple[str, dict[str, str]]:
    """Split the docstring of an aggregate's function into its first sentence and its sections."""
    text = inspect.getdoc(COMPUTED_BY[aggregate]) or ""
    summary, *parts = re.split(rf"^({'|'.join(SECTIONS)}): ", text, flags=re.MULTILINE)
    texts = {name: " ".join(part.split()) for name, part in zip(parts[::2], parts[1::2], strict=True)}
    return " ".join(summary.split()), texts
