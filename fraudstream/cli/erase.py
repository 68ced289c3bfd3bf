"""`fraudstream erase`: erases a card, on the record, and says what is left of it."""

import asyncio
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import click

from features.history.store import Entity
from fraudstream.cli.arguments import MomentParam
from fraudstream.cli.commands import reason_option
from fraudstream.cli.feature_sets import features_or_refuse
from fraudstream.cli.output import json_option, say
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import refused_settings, settings_or_refuse
from fraudstream.ops.repair.erasing import (
    CardErasure,
    ErasureOutcome,
    await_applied,
    partition_of,
    require_able_workers,
    send_erasure,
)
from fraudstream.ops.repair.remains import Remain, remains_of
from models.times import format_time
from stream.clock import now_ms
from stream.control.keys import Signer, read_signer
from stream.errors import SettingsError
from stream.kafka.client import open_admin
from stream.settings import PREFIX, Settings

_WAIT_SECONDS = 60.0


@click.command()
@click.argument("card", metavar="CARD")
@click.option(
    "--up-to", type=MomentParam(), help="Erase records up to this time, RFC 3339 with a zone; by default now."
)
@click.option("--request-id", default="", help="The id of the request that this answers; by default a new one.")
@click.option(
    "--partition",
    type=click.IntRange(0),
    help="That of the card's payments; by default found from the topic's last records.",
)
@click.option("--wait", type=click.FloatRange(0), default=_WAIT_SECONDS, show_default=True, help="Seconds.")
@reason_option
@json_option
def erase(
    *,
    card: str,
    up_to: int | None,
    request_id: str,
    partition: int | None,
    wait: float,
    reason: str,
    as_json: bool,
) -> None:
    """Erase a card, on the record, and say what is left of it, where and until when.

    From then on nothing sees its records up to a time. Needs a key that `fraudstream keys new --role erase` makes. The
    command ends with 1 if workers refused the erasure, or have not applied it in time.
    """
    settings = settings_or_refuse()
    if not reason:
        raise click.UsageError("--reason is needed: it stays with the erasure")
    moment = now_ms()
    if up_to is not None and up_to > moment:
        raise click.BadParameter("it has not come yet; what comes later is not erased beforehand", param_hint="--up-to")
    erasure = CardErasure(card, moment if up_to is None else up_to, request_id or str(uuid.uuid4()), reason)
    with refused_settings():
        signer = _signer(settings)
    horizons_ms = features_or_refuse(settings.features).horizons_ms
    with Refusals(settings):
        outcome, left = asyncio.run(_erase(settings, signer, erasure, (partition, wait), horizons_ms))
    say(as_json, _facts(erasure, outcome, left), "\n".join(_lines(erasure, outcome, left)))
    if not outcome.applied:
        raise SystemExit(1)


async def _erase(
    settings: Settings,
    signer: Signer,
    erasure: CardErasure,
    how: tuple[int | None, float],
    horizons_ms: Mapping[Entity, int],
) -> tuple[ErasureOutcome, list[Remain]]:
    """Send an erasure to a partition, None: to the card's, wait so many seconds, and say what is left."""
    partition, wait_s = how
    await require_able_workers(settings)
    if partition is None:
        partition = await partition_of(settings, erasure.card_id)
    place = await send_erasure(settings, signer, erasure, partition)
    outcome = await await_applied(settings, place, wait_s, now_ms())
    async with open_admin(settings) as admin:
        return outcome, await remains_of(settings, admin, horizons_ms, now_ms())


def _signer(settings: Settings) -> Signer:
    """Return the key that signs the erasure.

    Raises:
        SettingsError: there is none, or it cannot be used.
    """
    signer = read_signer(settings)
    if signer is None:
        raise SettingsError(
            f"{PREFIX}SIGNING_KEY: an erasure has to be signed by a key with the role erase, and no key is named; "
            "`fraudstream keys new --role erase` makes one"
        )
    return signer


def _facts(erasure: CardErasure, outcome: ErasureOutcome, left: Iterable[Remain]) -> dict[str, Any]:
    refused = outcome.refused
    return {
        "card_id": erasure.card_id,
        "erased_at": format_time(erasure.erased_ms),
        "request_id": erasure.request_id,
        "reason": erasure.reason,
        "record": outcome.place._asdict(),
        "applied": outcome.applied,
        "refused": None if refused is None else {"code": refused.code, "detail": refused.detail},
        "remains": [one._asdict() for one in left],
    }


def _lines(erasure: CardErasure, outcome: ErasureOutcome, left: Iterable[Remain]) -> Iterator[str]:
    where = f"{outcome.place.topic} {outcome.place.partition}, offset {outcome.place.offset}"
    if outcome.refused is not None:
        yield f"refused: {outcome.refused.code}: {outcome.refused.detail} ({where})"
        return
    up_to = format_time(erasure.erased_ms)
    yield f"request {erasure.request_id}: nothing sees the card's records up to {up_to} any more"
    yield f"record: {where}; {'applied' if outcome.applied else _NOT_YET}"
    yield "what is left:"
    for one in left:
        until = f"until {one.until}" if one.until else one.why
        yield f"  {one.where}: {one.what}; {until}"


_NOT_YET = "not applied yet: a worker does that when it comes there, see `fraudstream deployment status`"
