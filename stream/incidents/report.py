"""The report of an incident: a text that can be sent to a customer."""

import textwrap
from collections.abc import Iterator, Mapping
from types import MappingProxyType

from models.times import stated_ms
from stream.contract.incident import Incident, IncidentRule
from stream.contract.outputs import DecidedBy
from stream.incidents.rules import BURST_RECORDS, BURST_SECONDS, HALTING_RUN, WAITING_SECONDS
from stream.incidents.texts import money_text
from stream.incidents.told import ToldIncident

_COLUMNS = 100

TITLES: Mapping[IncidentRule, str] = MappingProxyType(
    {
        IncidentRule.NO_WORKER: "payments were not decided",
        IncidentRule.STAND_INS: "the live model did not decide",
        IncidentRule.HISTORY_INCOMPLETE: "payments were decided without complete histories",
        IncidentRule.CAP_REACHED: "the cap on declines was reached",
        IncidentRule.DEADLINES_MISSED: "decisions were late",
        IncidentRule.PARTITION_HALTED: "a partition was halted",
        IncidentRule.DEAD_LETTERS: "records were refused",
        IncidentRule.GUARD_BREACH: "a new model did harm, and a guard acted",
        IncidentRule.LOSS_ACCEPTED: "records were given up as lost or unreadable",
    }
)
"""What happened, in a few words."""

_BECAUSE: Mapping[IncidentRule, str] = MappingProxyType(
    {
        IncidentRule.NO_WORKER: (
            f"For {WAITING_SECONDS} s or longer nothing was decided in some partitions while payments waited there. "
            "Payments that wait are not lost: they are decided, in their order, once a worker decides again."
        ),
        IncidentRule.STAND_INS: (
            "The live model gave no score for these payments. So the model that was live before decided, or, where "
            "that gave none either, the rule policy, which never declines. No payment stayed without a decision."
        ),
        IncidentRule.HISTORY_INCOMPLETE: (
            "The store of card and merchant histories was away, or had lost some. The payments were decided with what "
            "was known in memory, and are added to the histories afterwards. Their scores carry `history_incomplete`."
        ),
        IncidentRule.CAP_REACHED: (
            "A model declined a larger share of payments than the cap allows. What it declined beyond the cap was sent "
            "to review instead; the scores say so (`overruled`)."
        ),
        IncidentRule.DEADLINES_MISSED: (
            "More decisions than usual came later than the deadline. Every payment was decided; whoever waited for the "
            "answer no longer than the deadline did not have it in time."
        ),
        IncidentRule.PARTITION_HALTED: (
            f"{HALTING_RUN:,} records in a row were refused, which means that a producer is faulty. The partition was "
            "halted, so that its later payments wait instead of being refused. They are decided once it goes on."
        ),
        IncidentRule.DEAD_LETTERS: (
            f"More than {BURST_RECORDS} records were refused for the same reason within {BURST_SECONDS // 60} minutes. "
            "A refused record gets no decision. It is kept, and can be sent again once its cause is repaired."
        ),
        IncidentRule.GUARD_BREACH: (
            "A guard compared the new model's decisions with the live model's and found that it does more harm, by a "
            "test whose false alarms have a stated probability. It acted by a command, which holds its evidence."
        ),
        IncidentRule.LOSS_ACCEPTED: (
            "Records of the input were removed before they were read, or cannot be read. An operator looked at that "
            "and let the partition go on behind them. These records get no decision."
        ),
    }
)
"""What is behind it, and what it means for a payment."""
assert set(TITLES) == set(_BECAUSE) == set(IncidentRule)  # noqa: S101 - checked at import

_WHO: Mapping[str, str] = MappingProxyType(
    {
        DecidedBy.MODEL.value: "by the model of the payment's arm",
        DecidedBy.FALLBACK.value: "by a model that stood in",
        DecidedBy.RULES.value: "by the rule policy",
    }
)


def report(told: ToldIncident) -> str:
    """Return the report of an incident, as plain text."""
    first, last = told
    because = textwrap.fill(_BECAUSE[last.rule], _COLUMNS)
    return "\n".join([*_head(first, last), "", because, "", *_numbers(last), "", *_actions(last)])


def _head(first: Incident, last: Incident) -> Iterator[str]:
    yield f"Incident {last.incident_id}: {TITLES[last.rule]}"
    yield f"Deployment {last.deployment}, rule {last.rule}, severity {last.severity}"
    yield ""
    yield f"{last.text}."
    yield ""
    yield f"{'First seen':12}{_moment(last.since)}"
    yield f"{'Last seen':12}{_moment(last.until)}"
    yield f"{'Opened':12}{_moment(first.at)}"
    if last.is_open:
        yield f"{'Status':12}open; these are the figures of {_moment(last.at)}"
    else:
        yield f"{'Closed':12}{_moment(last.at)}"
        yield f"{'Status':12}over"


def _moment(text: str) -> str:
    """Return a time for people; what is no time, as it is."""
    return f"{text[:10]} {text[11:19]} UTC" if stated_ms(text) else text


def _numbers(last: Incident) -> Iterator[str]:
    noun = "Records" if last.rule is IncidentRule.DEAD_LETTERS else "Payments"
    yield f"{noun:12}{last.events:,}"
    for currency, minor in sorted(last.amounts.items()):
        yield f"{'Money':12}{money_text(currency, minor)}"
    if not last.amounts:
        yield f"{'Money':12}{'unknown' if last.events else 'none'}"
    for by, decisions in last.decided.items():
        counts = ", ".join(f"{count:,} {decision}" for decision, count in sorted(decisions.items()))
        yield f"{'Decided':12}{counts}, {_WHO.get(by, by)}"
    for reason, count in last.reasons.items():
        yield f"{'Stated':12}{reason}: {count:,}"
    if last.partition is not None:
        yield f"{'Partition':12}{last.partition}"
    if last.opening is not None:
        one = last.opening
        yield f"{'Begins with':12}{one.topic}:{one.partition}:{one.offset}"


def _actions(last: Incident) -> Iterator[str]:
    if not last.actions:
        yield "No command was sent meanwhile."
        return
    yield "Commands meanwhile:"
    for one in last.actions:
        by = f" by {one.actor}" if one.actor else ""
        yield f"  {_moment(one.at)}  {one.command}{by}{f': {one.reason}' if one.reason else ''} ({one.command_id})"
