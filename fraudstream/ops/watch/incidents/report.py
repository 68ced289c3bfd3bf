"""The report of an incident: a text that can be sent to a customer, and details for those who run the fleet.

The report names no topic, no partition, no command and no person; all of that is in the details, and in `--json`.
"""

import textwrap
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from fraudstream.ops.watch.incidents.rules import BURST_SECONDS, WAITING_SECONDS
from fraudstream.ops.watch.incidents.texts import joined, money_text
from fraudstream.ops.watch.incidents.told import ToldIncident
from models.commands import CommandKind
from models.times import stated_ms
from stream.contract.incident import Incident, IncidentRule
from stream.contract.outputs import DecidedBy

_COLUMNS = 100
_LABEL = 16


class Explanation(NamedTuple):
    """What a rule's incidents mean for a customer.

    Attributes:
        title: what happened, in a few words.
        happened: what happened, and why.
        instead: what was done instead, and what becomes of the payments, while it goes on.
        over: likewise, once it is over.
    """

    title: str
    happened: str
    instead: str
    over: str


_BY_RULES = (
    "The model that was in use before decided in its place and, where that gave no result either, a fixed set of "
    "rules, which never declines a payment. No payment was left without a decision."
)
_KEPT = "Each refused message is kept, and can be sent again once its cause is repaired."
EXPLANATIONS: Mapping[IncidentRule, Explanation] = MappingProxyType(
    {
        IncidentRule.NO_WORKER: Explanation(
            "Payments waited for a decision",
            f"Payments arrived and were not decided for {WAITING_SECONDS} seconds or longer.",
            "No payment is lost. Those that wait are decided in the order in which they came, as soon as decisions are "
            "made again.",
            "No payment was lost. Those that had waited were decided in the order in which they came.",
        ),
        IncidentRule.STAND_INS: Explanation(
            "Payments were decided without the current model",
            "The model that scores payments gave no result for some of them.",
            _BY_RULES,
            _BY_RULES,
        ),
        IncidentRule.HISTORY_INCOMPLETE: Explanation(
            "Past payments were missing when payments were decided",
            "The store of what cards and merchants did before was not available, or had lost some of it.",
            "Payments that could not wait are decided with what is known at the moment. What is missing is being "
            "restored from the original records.",
            "Payments that could not wait were decided with what was known at that moment. What was missing was "
            "restored from the original records.",
        ),
        IncidentRule.CAP_REACHED: Explanation(
            "Declines were limited",
            "A model wanted to decline more payments than the limit on declines allows.",
            "Payments beyond that limit are sent to review instead of being declined.",
            "Payments beyond that limit were sent to review instead of being declined.",
        ),
        IncidentRule.DEADLINES_MISSED: Explanation(
            "Decisions were late",
            "More decisions than usual took longer than agreed.",
            "Every payment is decided. Whoever waits no longer than agreed does not have the decision in time.",
            "Every payment was decided. Whoever waited no longer than agreed did not have the decision in time.",
        ),
        IncidentRule.PARTITION_HALTED: Explanation(
            "Payments were held back behind faulty messages",
            "A long run of messages that are no valid payments came in one after another, so that their source was "
            "taken to be faulty.",
            "The payments behind them are held back instead of being refused, and are decided once the source is "
            "repaired.",
            "The payments behind them were held back instead of being refused, and were decided afterwards.",
        ),
        IncidentRule.DEAD_LETTERS: Explanation(
            "Messages were refused",
            f"Within {BURST_SECONDS // 60} minutes many messages could not be accepted, all for the same reason.",
            f"A refused message gets no decision. {_KEPT}",
            f"A refused message got no decision. {_KEPT}",
        ),
        IncidentRule.GUARD_BREACH: Explanation(
            "A new model was stopped",
            "A new model that decided a part of the payments did worse than the model before, by the measures that "
            "watch every new model.",
            "",
            "",
        ),
        IncidentRule.LOSS_ACCEPTED: Explanation(
            "Messages could not be read",
            "Messages were lost before they were read, or cannot be read. An operator has examined this.",
            "These messages get no decision. The payments behind them are decided.",
            "These messages got no decision. The payments behind them are decided.",
        ),
        IncidentRule.DRIFT: Explanation(
            "Payments have changed",
            "Payments, or what is computed of them, are no longer like those that the model was made for.",
            "Every payment is decided as before. Whether the model must be made anew is being examined.",
            "Every payment was decided as before. The payments are like those that the model was made for again, or "
            "another model decides.",
        ),
        IncidentRule.LABELS_MISSING: Explanation(
            "Fewer reports of fraud arrived",
            "Reports that say which payments were fraud, or a part of them, stopped or became far fewer than in the "
            "weeks before.",
            "Every payment is decided as before. Without these reports the model knows less of recent fraud.",
            "Every payment was decided as before. The reports arrive again, or those that arrive are what is expected "
            "from now on.",
        ),
    }
)
"""What each rule's incidents mean for a customer. What a guard did is told by the commands."""
assert set(EXPLANATIONS) == set(IncidentRule)  # noqa: S101 - checked at import

_WITHDRAWN = frozenset({CommandKind.END_CANARY, CommandKind.END_SPLIT, CommandKind.ROLL_BACK, CommandKind.DEMOTE})
_BY: Mapping[str, str] = MappingProxyType(
    {
        DecidedBy.MODEL.value: "by the model",
        DecidedBy.FALLBACK.value: "by the model before",
        DecidedBy.RULES.value: "by fixed rules",
    }
)
_DECISIONS: Mapping[str, str] = MappingProxyType(
    {"approve": "approved", "review": "sent to review", "decline": "declined"}
)


def report(told: ToldIncident) -> str:
    """Return the report of an incident for a customer, as plain text."""
    last = told.last
    explained = EXPLANATIONS[last.rule]
    lines = [
        explained.title,
        "",
        *_times(last),
        *_numbers(last),
        *_status(last),
        f"{'Reference':{_LABEL}}{last.incident_id}",
    ]
    paragraphs = (explained.happened, _instead(last))
    return "\n".join([*lines, *(f"\n{textwrap.fill(text, _COLUMNS)}" for text in paragraphs)])


def details(told: ToldIncident) -> str:
    """Return what those who run the fleet want to know besides, as plain text."""
    return "\n".join([*_facts(*told), "", *_actions(told.last)])


def _moment(text: str) -> str:
    """Return a time for people; what is no time, as it is."""
    return f"{text[:10]} {text[11:19]} UTC" if stated_ms(text) else text


def _line(label: str, text: str) -> str:
    return f"{label:{_LABEL}}{text}"


def _times(last: Incident) -> Iterator[str]:
    since, until = _moment(last.since), _moment(last.until)
    if last.is_open:
        yield _line("From", since)
        yield _line("To", f"it goes on; these are the figures of {_moment(last.at)}")
    elif since == until:
        yield _line("At", since)
    else:
        yield _line("From", since)
        yield _line("To", until)


def _numbers(last: Incident) -> Iterator[str]:
    is_messages = last.rule in (IncidentRule.DEAD_LETTERS, IncidentRule.LOSS_ACCEPTED)
    count = f"{last.events:,}"
    if last.rule is IncidentRule.LOSS_ACCEPTED:
        count = f"at most {last.events:,}" if last.events else "an unknown number"
    yield _line("Messages" if is_messages else "Payments", count)
    for currency, minor in sorted(last.amounts.items()):
        yield _line("Amount", money_text(currency, minor))
    if not last.amounts:
        is_unknown = last.events or last.rule is IncidentRule.LOSS_ACCEPTED
        yield _line("Amount", "unknown" if is_unknown else "none")
    for by, decisions in last.decided.items():
        counts = [f"{count:,} {_DECISIONS.get(decision, decision)}" for decision, count in sorted(decisions.items())]
        yield _line("Decided", f"{joined(counts)}, {_BY.get(by, by)}")


def _status(last: Incident) -> Iterator[str]:
    yield _line("Status", "open" if last.is_open else f"over, since {_moment(last.at)}")


def _instead(last: Incident) -> str:
    if last.rule is not IncidentRule.GUARD_BREACH:
        explained = EXPLANATIONS[last.rule]
        return explained.instead if last.is_open else explained.over
    if any(one.command in _WITHDRAWN for one in last.actions):
        return "The new model was withdrawn, and the model before decides these payments again."
    return "The introduction of the new model was paused: it is given no further payments than it has."


def _facts(first: Incident, last: Incident) -> Iterator[str]:
    yield _line("Rule", f"{last.rule}, severity {last.severity}, for {joined(list(last.receivers))}")
    yield _line("Deployment", last.deployment)
    yield _line("Opened", _moment(first.at))
    yield _line("In short", f"{last.text}.")
    for reason, count in last.reasons.items():
        yield _line("Stated", f"{reason}: {count:,}")
    if last.partition is not None:
        yield _line("Partition", str(last.partition))
    if last.opening is not None:
        one = last.opening
        yield _line("Begins with", f"{one.topic}:{one.partition}:{one.offset}")


def _actions(last: Incident) -> Iterator[str]:
    if not last.actions:
        yield "No command was accepted meanwhile."
        return
    yield "Commands meanwhile:"
    for one in last.actions:
        by = f" by {one.actor}" if one.actor else ""
        yield f"  {_moment(one.at)}  {one.command}{by}{f': {one.reason}' if one.reason else ''} ({one.command_id})"
