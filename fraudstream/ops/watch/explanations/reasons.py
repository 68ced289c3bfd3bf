"""Choose the reasons of one alert: what the model's features add, by code, and what rules and caps changed.

The contributions of all features of a code are summed, since windows of one quantity share their credit by chance; the
reason names the feature of the code that adds most. Codes that lower the score are no reasons, and stand in `rest`.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from features.reason_codes import DECLINE_CAP, RULES
from features.reasons import ReasonTable
from fraudstream_client.outputs import MOST_REASONS, AlertReason, DecidedBy, Decision, Overruled, Score
from models import decline_cap
from stream.scoring.score import REVIEW_ABOVE

RULE_PREFIX = "rule:"
"""An overruling rule is named `rule:NAME` in a score's `overruled`, and so is its reason."""

FeatureValues = Mapping[str, float | None]


class ModelPart(NamedTuple):
    """What a model's features add to the raw score of one alert.

    Attributes:
        margin: the raw score.
        base: the model's expected raw score.
        names: the features, in the model's order.
        contributions: what each of them adds.
    """

    margin: float
    base: float
    names: Sequence[str]
    contributions: Sequence[float]


class ChosenReasons(NamedTuple):
    """The reasons of an alert; `base` and `rest` are None where there is no model's part."""

    reasons: tuple[AlertReason, ...]
    base: float | None
    rest: float | None


def chosen_reasons(table: ReasonTable, score: Score, part: ModelPart | None) -> ChosenReasons:
    """Return at most four reasons: first what changed the decision, then what raises the score, strongest first.

    Where the model itself had approved, its features are no reason for the decision.

    Args:
        table: the codes.
        score: an alert.
        part: what its features add; None where no model decided, or it cannot be told.
    """
    first = tuple(_first_reasons(score))[:MOST_REASONS]
    if part is None:
        return ChosenReasons(first, None, None)
    shown = list[AlertReason]()
    if score.said is not Decision.APPROVE:
        shown = list(_model_reasons(table, score, part))[: MOST_REASONS - len(first)]
    rest = part.margin - part.base - sum(one.contribution or 0.0 for one in shown)
    return ChosenReasons((*first, *shown), part.base, rest)


def _model_reasons(table: ReasonTable, score: Score, part: ModelPart) -> Iterator[AlertReason]:
    """Yield a reason for each code that raises the score, strongest first; ties in the order of the table."""
    columns: dict[str, list[int]] = {}
    for column, name in enumerate(part.names):
        columns.setdefault(table.code_of(name), []).append(column)
    sums = {code: sum(part.contributions[one] for one in some) for code, some in columns.items()}
    values: FeatureValues = score.features or {}
    texts = {} if isinstance(score.attributes, msgspec.UnsetType) else score.attributes
    for code in sorted(sums, key=lambda one: (-sums[one], table.order(one))):
        if sums[code] > 0.0:
            name = part.names[max(columns[code], key=lambda one: part.contributions[one])]
            value = values.get(name)
            sentence = table.analyst_sentence(name, value, score.currency, texts)
            yield AlertReason(code, name, value, sums[code], sentence)


def _first_reasons(score: Score) -> Iterator[AlertReason]:
    """Yield what decided beside or in place of a model, by name."""
    if score.overruled is not None:
        yield _overruling_reason(score.overruled, score.decision)
    if score.decided_by is DecidedBy.RULES:
        yield from _rule_reasons(score)


def _overruling_reason(overruled: Overruled, decision: Decision) -> AlertReason:
    change = f"changed the decision from {overruled.decision} to {decision}"
    if overruled.by == decline_cap.DECLINE_CAP:
        return AlertReason(DECLINE_CAP, None, None, None, f"The cap on declines {change}")
    name = overruled.by.removeprefix(RULE_PREFIX)
    what = f"Rule {name}" if overruled.by.startswith(RULE_PREFIX) else f"{overruled.by}"
    return AlertReason(overruled.by, None, None, None, f"{what} {change}")


def _rule_reasons(score: Score) -> Iterator[AlertReason]:
    """Yield each rule of the rule policy that holds for a payment that no model decided."""
    values, found = score.features or {}, False
    for name, limit in REVIEW_ABOVE.items():
        value = values.get(name)
        if value is not None and value > limit:
            found = True
            text = f"Decided by rules, since no model could: {name} is {value:,.6g}, above {limit:g}"
            yield AlertReason(f"{RULES}:{name}", name, value, None, text)
    if not found:
        yield AlertReason(
            RULES, None, None, None, f"Decided by rules, since no model could ({', '.join(score.degraded)})"
        )
