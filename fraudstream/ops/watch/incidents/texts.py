"""An incident in one sentence, for whoever is told of it: how many payments, how much money, what and when."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

from fraudstream.ops.watch.incidents.rules import WAITING_SECONDS
from fraudstream_client.incidents import Incident, IncidentKind, IncidentRule
from fraudstream_client.outputs import DecidedBy
from stream.contract.iso import CURRENCY_DECIMALS

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_WORDS: Mapping[IncidentRule, tuple[str, str]] = MappingProxyType(
    {
        IncidentRule.NO_WORKER: (
            "{have} waited for a decision, and no worker decides,",
            "waited longer than {waiting} s for a decision",
        ),
        IncidentRule.PARTITION_HALTED: (
            "{have} waited behind refused records in partition {partition}, which is halted,",
            "waited longer than {waiting} s behind refused records in partition {partition}",
        ),
        **{
            rule: (words, words)
            for rule, words in {
                IncidentRule.STAND_INS: "{were} decided {by}",
                IncidentRule.HISTORY_INCOMPLETE: "{were} decided without complete histories",
                IncidentRule.CAP_REACHED: "{were} sent to review instead of declined, beyond the cap on declines,",
                IncidentRule.DEADLINES_MISSED: "{were} decided more than {deadline} ms after arrival",
                IncidentRule.DEAD_LETTERS: "of {topic} {were} refused ({codes})",
                IncidentRule.GUARD_BREACH: "{were} decided by a new model that a guard found to do harm,",
                IncidentRule.LOSS_ACCEPTED: "of partition {partition} of {topic} {were} given up, by an operator,",
            }.items()
        },
    }
)
"""What happened, by rule: while it goes on, and once it is over."""
_ALTHOUGH_LOST = ", although some were lost,"
_WAITING = (IncidentRule.NO_WORKER, IncidentRule.PARTITION_HALTED)


def money_text(currency: str, minor: int) -> str:
    """Return an amount in minor units with its currency, as in `EUR 212,000.00`: exact, however large."""
    decimals = CURRENCY_DECIMALS.get(currency, 0)
    whole, rest = divmod(minor, 10**decimals)
    return f"{currency} {whole:,}.{rest:0{decimals}d}" if decimals else f"{currency} {whole:,}"


def amounts_text(amounts: Mapping[str, int]) -> str:
    """Return amounts by currency, as in `EUR 212,000.00 and JPY 5,000`; empty if there are none."""
    found = [money_text(currency, minor) for currency, minor in sorted(amounts.items())]
    return joined(found)


def joined(texts: list[str]) -> str:
    """Return some texts as a list in words."""
    return " and ".join([*([", ".join(texts[:-1])] if len(texts) > 1 else []), *texts[-1:]])


def span_text(since_ms: int, until_ms: int | None) -> str:
    """Return a time span in UTC, to the minute; `until_ms` is None for one that goes on.

    As in `between 10:02 and 10:09 UTC on 2026-01-31`.
    """
    since = _moment(since_ms)
    if until_ms is None:
        return f"since {since:%H:%M} UTC on {since:%Y-%m-%d}"
    until = _moment(until_ms)
    if since.date() != until.date():
        return f"between {since:%Y-%m-%d %H:%M} and {until:%Y-%m-%d %H:%M} UTC"
    if (since.hour, since.minute) == (until.hour, until.minute):
        return f"at {since:%H:%M} UTC on {since:%Y-%m-%d}"
    return f"between {since:%H:%M} and {until:%H:%M} UTC on {since:%Y-%m-%d}"


def _moment(at_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=at_ms)


def sentence(incident: Incident, since_ms: int, until_ms: int, deadline_ms: int) -> str:
    """Return what an incident is about in one sentence; all of `incident` but its text must be set."""
    is_over = incident.kind is IncidentKind.CLOSED
    when = span_text(since_ms, until_ms if is_over else None)
    return f"{_counted(incident)} {_what(incident, deadline_ms, is_over=is_over)} {when}"


def _counted(incident: Incident) -> str:
    """Return how many payments or records there are, and their amounts."""
    noun = "record" if incident.rule is IncidentRule.DEAD_LETTERS else "payment"
    count = f"{incident.events:,} {noun}{'' if incident.events == 1 else 's'}"
    if not incident.events:
        count = f"No {noun}" if _is_none(incident) else f"{noun.capitalize()}s"
    if incident.rule is IncidentRule.LOSS_ACCEPTED:
        count = f"At most {count}" if incident.events else "An unknown number of records"
    amounts = amounts_text(incident.amounts)
    return f"{count}, {amounts}," if amounts else count


def _is_none(incident: Incident) -> bool:
    """Tell whether an incident is about no payment at all; of those that wait the number may not be known yet."""
    return not incident.events and (incident.rule not in _WAITING or not incident.is_open)


def _what(incident: Incident, deadline_ms: int, *, is_over: bool) -> str:
    """Return what happened to them."""
    is_one = incident.events == 1 or (_is_none(incident) and incident.rule is not IncidentRule.LOSS_ACCEPTED)
    words = _WORDS[incident.rule][is_over]
    if incident.rule is IncidentRule.HISTORY_INCOMPLETE and not incident.events:
        words += _ALTHOUGH_LOST
    return words.format(
        were="was" if is_one else "were",
        have="has" if is_one else "have",
        waiting=WAITING_SECONDS,
        deadline=f"{deadline_ms:,}",
        partition=incident.partition,
        topic="the topic" if incident.opening is None else incident.opening.topic,
        codes=", ".join(sorted(incident.reasons)),
        by=_by(incident),
    )


def _by(incident: Incident) -> str:
    """Return what decided in place of the live model."""
    by_rules = DecidedBy.RULES in incident.decided
    if DecidedBy.FALLBACK not in incident.decided:
        return "by rules only"
    return "by the model before or by rules" if by_rules else "by the model before"
