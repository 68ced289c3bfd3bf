"""What is left of an erased card, where and until when: for the officer who answers the request.

`docs/how-to/erase-a-card.md` names the same places, with the ground to keep each.
"""

from collections.abc import Mapping
from typing import NamedTuple

from aiokafka.admin import AIOKafkaAdminClient

from features.history.store import ENTITY_TEXT, PARTIES, Entity
from models.times import format_time
from stream.kafka.topic_settings import read_configurations
from stream.kafka.topics import (
    DEAD_LETTERS,
    EXPLANATIONS,
    LABELS,
    OUTCOMES,
    PREDICTIONS,
    SCORES,
    SHADOW_SCORES,
    TRANSACTIONS,
    UNLIMITED,
    TopicLayout,
    silent_scores,
)
from stream.settings import Settings

_WHAT = {
    TRANSACTIONS.name: "the card's payments as they were sent, and this erasure",
    LABELS.name: "labels of the card's payments",
    PREDICTIONS.name: "predictions about the card",
    SCORES.name: "the decisions about the card's payments, which are the record of what was decided and why",
    SHADOW_SCORES.name: "what the challenger would have decided",
    OUTCOMES.name: "what became of the labels and predictions",
    EXPLANATIONS.name: "the reasons of alerts",
    DEAD_LETTERS.name: "the card as the key of refused records, and what FRAUDSTREAM_DEAD_LETTER_VALUES keeps of them",
}
_OF_A_CARD = "id hash, place and day of each erased payment, so that none is decided twice"
_OF_OTHERS = "the card's hash, with time and amount of each payment at {entity}"


class Remain(NamedTuple):
    """What is left at a place; `until` is when the last of it goes, None for no set time, which `why` explains."""

    where: str
    what: str
    until: str | None
    why: str = ""


async def remains_of(
    settings: Settings, admin: AIOKafkaAdminClient, horizons_ms: Mapping[Entity, int], now_ms: int
) -> list[Remain]:
    """Return what is left of a card after an erasure now; `horizons_ms` are those of the features.

    Raises:
        aiokafka.errors.KafkaError: the broker does not respond.
    """
    configured = await read_configurations(settings, admin)
    names = set(await admin.list_topics())
    layouts = (*(TRANSACTIONS, LABELS, PREDICTIONS, SCORES, SHADOW_SCORES, OUTCOMES, EXPLANATIONS, DEAD_LETTERS),)
    found = [
        _in_topic(settings, layout, configured[topic].values, now_ms)
        for layout in layouts
        if (topic := settings.topic(layout.name)) in configured
    ]
    silent = silent_scores(settings)
    if (topic := settings.topic(silent.name)) in names:
        what = "what a silent deployment decided"
        found.append(Remain(f"topic {topic}", what, format_time(now_ms + silent.retention_ms)))
    found += [_in_redis(kind, horizon_ms, now_ms) for kind, horizon_ms in sorted(horizons_ms.items(), key=_by_name)]
    return [*found, *_ELSEWHERE]


def _by_name(one: tuple[Entity, int]) -> str:
    return one[0].value


def _in_topic(settings: Settings, layout: TopicLayout, values: Mapping[str, str], now_ms: int) -> Remain:
    where, what = f"topic {settings.topic(layout.name)}", _WHAT[layout.name]
    try:
        kept_ms = int(values.get("retention.ms", str(layout.retention_ms)))
    except ValueError:
        kept_ms = layout.retention_ms
    if kept_ms == UNLIMITED:
        return Remain(where, what, None, "its retention.ms is -1: nothing is ever removed")
    return Remain(where, what, format_time(now_ms + kept_ms))


def _in_redis(kind: Entity, horizon_ms: int, now_ms: int) -> Remain:
    until = format_time(now_ms + horizon_ms)
    if kind is Entity.CARD:
        return Remain("Redis, the card's history", _OF_A_CARD, until)
    if kind is Entity.PREDICTION:
        return Remain("Redis, the card's predictions", "id hash, place and day of each erased prediction", until)
    entity = ENTITY_TEXT[kind]
    what = _OF_OTHERS.format(entity=entity) if kind in PARTIES else _OF_A_CARD
    return Remain(f"Redis, histories of {entity.removeprefix('a ')}s", what, until)


_ELSEWHERE = (
    Remain(
        "topics model-control and model-events",
        "nothing of cards, unless a split excluded some by their ids",
        None,
        "they are kept for ever; since ids are hashed by a key, splits exclude by hashes",
    ),
    Remain(
        "files that were written by your commands",
        "rows of cards in exports, training files and scored files",
        None,
        "they are yours: delete them, or write them again, which leaves the card out",
    ),
    Remain(
        "logs, traces and backups",
        "a line about a faulty record may name its card; a trace has a payment's place; a backup has what was there",
        None,
        "by the rules of the systems that keep them",
    ),
)
