"""The report of an incident: sections that can be sent to a customer, and one of details for those who run the fleet.

All but that one name no topic, no partition, no command and no person. Every amount is shown, that of most money first:
a text that is sent cannot be opened further.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from fraudstream.ops.report.document import Headline, Provenance, Report, Section, Tone
from fraudstream.ops.report.parts import Cell, KeyFigure, KeyFigures, Note
from fraudstream.ops.report.quantities import Count, by_money
from fraudstream.ops.report.tables import DataTable
from fraudstream.ops.report.terminal import plain_text
from fraudstream.ops.watch.incidents.rules import BURST_SECONDS, WAITING_SECONDS
from fraudstream.ops.watch.incidents.texts import joined, money_text
from fraudstream.ops.watch.incidents.told import ToldIncident
from fraudstream_client.incidents import Incident, IncidentRule
from fraudstream_client.outputs import DecidedBy
from models.commands import CommandKind
from models.times import stated_ms
from stream.code_version import code_version
from stream.contract.iso import CURRENCY_DECIMALS

_COLUMNS = 100


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
        IncidentRule.FIELD_STOPPED: Explanation(
            "Payments lacked details",
            "Some details that payments usually come with did not come with them.",
            "Every payment is decided, with less known about it than before.",
            "Every payment was decided, with less known about it than before.",
        ),
        IncidentRule.FIELD_BEGUN: Explanation(
            "Payments come with new details",
            "Payments come with details that they did not have on the day before.",
            "Every payment is decided as before.",
            "Every payment was decided as before.",
        ),
    }
)
"""What each rule's incidents mean for a customer. What a guard did is told by the commands."""
assert set(EXPLANATIONS) == set(IncidentRule)  # noqa: S101 - checked at import

_WITHDRAWN = frozenset({CommandKind.END_CANARY, CommandKind.END_SPLIT, CommandKind.ROLL_BACK, CommandKind.DEMOTE})
_BY: Mapping[str, str] = MappingProxyType(
    {
        DecidedBy.MODEL.value: "The model",
        DecidedBy.FALLBACK.value: "The model before",
        DecidedBy.RULES.value: "Fixed rules",
    }
)
_DECISIONS: Mapping[str, str] = MappingProxyType(
    {"approve": "Approved", "review": "Sent to review", "decline": "Declined"}
)


def state_incident(told: ToldIncident, *, with_details: bool = False) -> Report:
    """Return an incident as a report for a customer; with details, also for those who run the fleet."""
    last = told.last
    explained = EXPLANATIONS[last.rule]
    return Report(
        "Report of an incident",
        f"Reference {last.incident_id}",
        _headline(last),
        (
            Section("What happened", (Note(explained.happened), KeyFigures(tuple(_figures(last))), _decided(last))),
            Section("What was done", (Note(_instead(last)),)),
            *((_details(told),) if with_details else ()),
        ),
        Provenance("what is on record of every payment", None, None, stated_ms(last.at), code_version()),
    )


def report(told: ToldIncident) -> str:
    """Return the report of an incident for a customer, as plain text."""
    return plain_text(state_incident(told), _COLUMNS)


def _headline(last: Incident) -> Headline:
    title = EXPLANATIONS[last.rule].title
    counted = f": {_count(last).lower()} {_noun(last)}" if last.events else ""
    amounts = f", {joined(_amounts(last))}" if _amounts(last) else ""
    at = _moment(last.at)
    status = f"It goes on; these are the figures of {at}." if last.is_open else f"It is over since {at}."
    return Headline(f"{title}{counted}{amounts}", Tone.BAD if last.is_open else Tone.PLAIN, status)


def _moment(text: str) -> str:
    """Return a time for people; what is no time, as it is."""
    return f"{text[:10]} {text[11:19]} UTC" if stated_ms(text) else text


def _is_of_messages(last: Incident) -> bool:
    return last.rule in (IncidentRule.DEAD_LETTERS, IncidentRule.LOSS_ACCEPTED)


def _noun(last: Incident) -> str:
    noun = "message" if _is_of_messages(last) else "payment"
    return noun if last.events == 1 else f"{noun}s"


def _count(last: Incident) -> str:
    if last.rule is IncidentRule.LOSS_ACCEPTED:
        return f"At most {last.events:,}" if last.events else "An unknown number"
    return f"{last.events:,}"


def _amounts(last: Incident) -> list[str]:
    """Return amounts by currency, that of most money first; a refused record may state a currency that is none."""
    known = by_money({code: minor for code, minor in last.amounts.items() if code in CURRENCY_DECIMALS})
    others = sorted(code for code, minor in last.amounts.items() if minor and code not in CURRENCY_DECIMALS)
    return [money_text(code, last.amounts[code]) for code in (*known, *others)]


def _figures(last: Incident) -> Iterator[KeyFigure]:
    since, until = _moment(last.since), _moment(last.until)
    if last.is_open:
        yield KeyFigure("From", since)
        yield KeyFigure("To", f"it goes on; these are the figures of {_moment(last.at)}")
    elif since == until:
        yield KeyFigure("At", since)
    else:
        yield KeyFigure("From", since)
        yield KeyFigure("To", until)
    yield KeyFigure("Messages" if _is_of_messages(last) else "Payments", _count(last))
    is_unknown = not last.amounts and (last.events or last.rule is IncidentRule.LOSS_ACCEPTED)
    for amount in _amounts(last) or ["Unknown" if is_unknown else "None"]:
        yield KeyFigure("Amount", amount)
    yield KeyFigure("Status", "Open" if last.is_open else f"Over, since {_moment(last.at)}")


def _decided(last: Incident) -> DataTable:
    """Count decisions by what made them; empty if none were made."""
    names = {*_DECISIONS, *(name for decisions in last.decided.values() for name in decisions)}
    ordered = sorted(names, key=lambda name: (name not in _DECISIONS, [*_DECISIONS, name].index(name), name))
    rows: list[tuple[Cell, ...]] = [
        (_BY.get(by, by), *(Count(decisions[name]) if name in decisions else "" for name in ordered))
        for by, decisions in last.decided.items()
    ]
    return DataTable("How they were decided", ("By", *(_DECISIONS.get(name, name) for name in ordered)), tuple(rows))


def _instead(last: Incident) -> str:
    if last.rule is not IncidentRule.GUARD_BREACH:
        explained = EXPLANATIONS[last.rule]
        return explained.instead if last.is_open else explained.over
    if any(one.command in _WITHDRAWN for one in last.actions):
        return "The new model was withdrawn, and the model before decides these payments again."
    return "The introduction of the new model was paused: it is given no further payments than it has."


def _details(told: ToldIncident) -> Section:
    commands = tuple((_moment(one.at), one.command, one.actor, one.reason, one.command_id) for one in told.last.actions)
    return Section(
        "For those who run the fleet",
        (
            DataTable("Facts", ("What", "Fact"), tuple(_facts(*told))),
            DataTable("Commands meanwhile", ("Time", "Command", "By", "Reason", "Id"), commands),
            Note("" if commands else "No command was accepted meanwhile."),
        ),
    )


def _facts(first: Incident, last: Incident) -> Iterator[tuple[str, str]]:
    yield "Rule", f"{last.rule}, severity {last.severity}, for {joined(list(last.receivers))}"
    yield "Deployment", last.deployment
    yield "Opened", _moment(first.at)
    yield "In short", f"{last.text}."
    for reason, count in last.reasons.items():
        yield "Stated", f"{reason}: {count:,}"
    if last.partition is not None:
        yield "Partition", str(last.partition)
    if last.opening is not None:
        yield "Begins with", f"{last.opening.topic}:{last.opening.partition}:{last.opening.offset}"
