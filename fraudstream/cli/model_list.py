"""The table of `fraudstream model list`: one line for each model on a wide terminal, two on a narrow one."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from aiokafka.errors import KafkaError
from rich.console import Group, RenderableType
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from fraudstream.cli.model_roles import UNKNOWN, Roles, explained, roles_of, warn
from fraudstream.cli.output import say
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.repository import existing_repository_or_refuse
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.console import Terminal, terminal
from models.artifact import Manifest
from models.card import WARN_DAYS
from models.commands import SHORT_DIGEST
from models.overview import ModelOverview, overviews, reviews
from models.repository import Repository
from models.reviews import Review
from models.times import format_time
from stream.clock import now_ms
from stream.control.client import read_fold
from stream.errors import ControlLogError
from stream.printing import printable
from stream.settings import Settings

_ORDER = {"live": 0, "canary": 1, "arm": 1, "challenger": 2, "before": 3}
_METRICS = {"AUC": "auc", "AP": "average_precision", "CP100": "card_precision_at_100"}
"""The headings of the metrics that the table has; `model show` has all."""
_NARROW_METRICS = ("AUC", "AP")
_AP = "AP: average precision"
_CP100 = "CP100: card precision at 100 alerts a day"
_MEASURED = "Measured on the end of the training file."
_OF_IMPORTED = "Of imported models, measured on the end of the vectors."
_LEAST_WIDTH = 80
"""On a narrower terminal lines are broken by it; a table made for it would leave out parts of digests."""


def list_models(*, as_json: bool) -> None:
    """Print the models; exit with 1 if the repository is not there or cannot be listed, or if no role is known."""
    settings = settings_or_refuse()
    repository = existing_repository_or_refuse(settings)
    with Refusals():
        digests = repository.digests()
    roles = _roles(settings)
    models = _sorted(overviews(repository, {*digests, *roles.by_digest}).values(), roles)
    dates = reviews(repository, digests, now_ms())
    if as_json:
        listed = [_facts(one, roles) | _review_facts(dates.get(one.digest)) for one in models]
        say(as_json, {"models": listed, **_totals(repository, roles)}, "")
    else:
        summary = _summary(settings, repository, roles, len(digests))
        _print(models, roles, "\n".join((*_review_lines(models, dates), summary)))
    if roles.revision is None:
        raise SystemExit(1)


def _roles(settings: Settings) -> Roles:
    try:
        return roles_of(asyncio.run(read_fold(settings)).lineup)
    except (ControlLogError, KafkaError, OSError) as error:
        warn(f"roles are unknown: {explained(settings, error)}")
        return UNKNOWN


def _sorted(models: Iterable[ModelOverview], roles: Roles) -> list[ModelOverview]:
    """Return the models with a role first, then the others, those stored last first."""

    def place(one: ModelOverview) -> tuple[int, int, str]:
        return _ORDER.get(roles.by_digest.get(one.digest, ""), len(_ORDER)), -(one.stored_ms or 0), one.digest

    return sorted(models, key=place)


def _totals(repository: Repository, roles: Roles) -> dict[str, Any]:
    return {"repository": repository.place, "revision": roles.revision, "roles_known": roles.revision is not None}


def _facts(model: ModelOverview, roles: Roles) -> dict[str, Any]:
    """Return a model as one object; fields of the manifest are null where it cannot be read."""
    manifest = model.manifest
    return {
        "digest": model.digest,
        "role": roles.by_digest.get(model.digest),
        "arms": roles.arms(model.digest),
        "name": manifest and manifest.name,
        "version": manifest and manifest.version,
        "stored_at": None if model.stored_ms is None else format_time(model.stored_ms),
        "training": manifest and manifest.training,
        "imported": manifest and manifest.imported,
        "fingerprint": manifest and manifest.fingerprint,
        "parent": manifest and manifest.parent,
        "metrics": manifest and manifest.metrics,
        "problem": model.problem,
    }


def _review_facts(review: Review | None) -> dict[str, Any]:
    return {"review": None if review is None else review._asdict()}


def _review_lines(models: Iterable[ModelOverview], dates: Mapping[str, Review]) -> Iterator[str]:
    """Yield a line for each model whose review is near or overdue."""
    for one in models:
        review = dates.get(one.digest)
        if review is not None and review.days <= WARN_DAYS:
            yield f"{printable(one.label)}: review {review.text}"


def _summary(settings: Settings, repository: Repository, roles: Roles, count: int) -> str:
    """Say how many models there are and where, or what to do if there is none; and which revision holds."""
    if count:
        where = f"{count} {'model' if count == 1 else 'models'} in {repository.place}"
    else:
        where = f"no model in {repository.place}: train one by `fraudstream train FILE --name NAME`"
    if roles.revision is None:
        return where
    live = "" if "live" in roles.by_digest.values() else ", no model is live"
    return f"{where}\nrevision {roles.revision} of deployment {settings.deployment}{live}"


def _print(models: Sequence[ModelOverview], roles: Roles, summary: str) -> None:
    # a name may look like markup, or like an emoji's
    console = terminal()
    console.width = max(console.width, _LEAST_WIDTH)
    if models:
        console.print(layout(models, roles, console))
        for one in models:
            if one.problem is not None:
                console.print(f"{one.digest[:SHORT_DIGEST]}: {printable(one.problem)}", soft_wrap=True)
    console.print(summary, soft_wrap=True)


def layout(models: Sequence[ModelOverview], roles: Roles, console: Terminal) -> RenderableType:
    """Lay models out in one line each, or in two if that is too wide for the console; a legend is below."""
    imported = any(one.manifest is not None and one.manifest.imported is not None for one in models)
    measured = f"{_MEASURED} {_OF_IMPORTED}" if imported else _MEASURED
    table, legend = _wide(models, roles), f"{_AP}; {_CP100}. {measured}"
    if Measurement.get(console, console.options.update(max_width=10_000), table).maximum > console.width:
        table, legend = _narrow(models, roles), f"{_AP}. {measured}"
    return Group(table, "", Text(legend, style="dim"))


def _wide(models: Sequence[ModelOverview], roles: Roles) -> Table:
    table = _table("name", "version", "digest", "role", "stored", "trained on", "rows", "frauds", *_METRICS, gap=1)
    for one in models:
        role, digest = roles.text(one.digest), one.digest[:SHORT_DIGEST]
        if one.manifest is None:
            table.add_row("?", "?", digest, role)
            continue
        metrics = (_metric(one.manifest, name) for name in _METRICS.values())
        named = one.manifest.name, one.manifest.version
        table.add_row(*named, digest, role, _stored(one), *_trained_on(one.manifest), *metrics)
    return table


def _narrow(models: Sequence[ModelOverview], roles: Roles) -> Table:
    table = _table("name\nversion", "digest\nstored", "role", "trained on", "measured")
    for one in models:
        role, digest = roles.text(one.digest), one.digest[:SHORT_DIGEST]
        if one.manifest is None:
            table.add_row("?", digest, role)
            continue
        period, rows, frauds = _trained_on(one.manifest)
        table.add_row(
            f"{one.manifest.name}\n{one.manifest.version}",
            f"{digest}\n{_stored(one)}",
            role,
            f"{period}\n{rows} rows, {frauds} frauds" if rows else period,
            "\n".join(f"{title:3} {_metric(one.manifest, _METRICS[title])}" for title in _NARROW_METRICS),
        )
    return table


def _table(*columns: str, gap: int = 2) -> Table:
    table = Table(header_style="bold", box=None, pad_edge=False, padding=(0, gap, 0, 0))
    for column in columns:
        number = column in {"rows", "frauds", *_METRICS}
        table.add_column(
            column,
            justify="right" if number else "left",
            no_wrap=not column.startswith(("name", "version")),
            overflow="fold",
        )
    return table


def _stored(model: ModelOverview) -> str:
    return "" if model.stored_ms is None else format_time(model.stored_ms)[:10]


def _trained_on(manifest: Manifest) -> tuple[str, str, str]:
    """Return the days of the first and last transaction of the training, how many there were, and how many frauds.

    Of an imported model only the end may be known.
    """
    if manifest.training is not None:
        data = manifest.training
        return f"{data.since[:10]} to {data.until[:10]}", f"{data.rows:,}", f"{data.frauds:,}"
    until = manifest.imported and manifest.imported.trained_until
    return f"imported, to {until[:10]}" if until else "imported", "", ""


def _metric(manifest: Manifest, name: str) -> str:
    value = manifest.metrics.get(name)
    return "" if value is None else f"{value:.4f}"
