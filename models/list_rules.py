"""Rules beside the model: cards, merchants, countries, amounts, velocities and one's own fields decide in its place.

    block    declines the payment
    review   sends it to review unless the model declines it: a review rule never makes a decision milder
    allow    approves it

A block comes before a review, and a review before an allowance, whatever their order in the file; of several rules with
the same action the first one is named. What a model said is kept: `overruled` names the rule, and says from what.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from fraudstream_client.field_types import FORM_OF_TOKENS, LONGEST_ATTRIBUTE, text_like
from fraudstream_client.outputs import RULE, Decision
from metrics.money import MOST_MINOR
from models.categories import LARGEST_CODE
from models.let_through import MOST_CURRENCIES, Currency
from models.policy import Floats, Payments

MOST_RULES = 200
MOST_ENTRIES = 100_000
"""The most cards, merchants, countries and texts of all rules together: some 3 MB of a manifest."""

RuleName = Annotated[
    str, text_like("^[a-z0-9][a-z0-9_-]{0,39}$", "1 to 40 of a-z 0-9 _ -, the first a letter or a digit")
]
RuleVersion = Annotated[str, text_like("^[A-Za-z0-9._:@-]{1,64}$", FORM_OF_TOKENS)]
ListedToken = Annotated[str, text_like("^[A-Za-z0-9._:@-]{1,64}$", FORM_OF_TOKENS)]
ListedCountry = Annotated[str, text_like("^[A-Z]{2}$", "an ISO 3166 code of two capitals, such as FR")]
ListedText = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_ATTRIBUTE)]
ListedCode = Annotated[int, msgspec.Meta(ge=0, lt=LARGEST_CODE)]
LeastAmount = Annotated[int, msgspec.Meta(ge=0, le=MOST_MINOR, description="in the currency's minor unit")]
LeastAmounts = Annotated[dict[Currency, LeastAmount], msgspec.Meta(max_length=MOST_CURRENCIES)]
Bools = NDArray[np.bool_]


class RuleAction(StrEnum):
    """What a rule does with the payments that it matches, in the order of precedence."""

    BLOCK = "block"
    REVIEW = "review"
    ALLOW = "allow"


class FeatureBound(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a feature must be; an undefined value never is.

    A number, such as a velocity, matches above `above` and below `below`, at least one of which is stated. A category
    matches if it is one of the texts `among`, whose numbers in vectors are `codes`, in their order.
    """

    above: float | None = None
    below: float | None = None
    among: tuple[ListedText, ...] = ()
    codes: tuple[ListedCode, ...] = ()

    def __post_init__(self) -> None:
        stated = [one for one in (self.above, self.below) if one is not None]
        if bool(stated) is bool(self.among) or not np.isfinite(stated).all():
            raise ValueError("expected above, below or both, as numbers, or else among, a list of texts")
        if len(self.codes) != len(self.among):
            raise ValueError("expected as many codes as texts")


class ListRule(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """A rule: it matches the payments for which every condition that it states holds; it states at least one.

    Attributes:
        name: what stands in `overruled` behind `rule:`.
        action: what is done.
        cards: the payment's `card_id` is one of these tokens.
        merchants: its `merchant_id` is.
        countries: its `merchant_country` is stated, and one of these.
        amounts_from: its currency is one of these, and its amount at least so much.
        features: each of these features of the deciding model is beyond its bound, or one of the texts of its list.
    """

    name: RuleName
    action: RuleAction
    cards: tuple[ListedToken, ...] = ()
    merchants: tuple[ListedToken, ...] = ()
    countries: tuple[ListedCountry, ...] = ()
    amounts_from: LeastAmounts = msgspec.field(default_factory=dict)
    features: dict[str, FeatureBound] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (self.entries or self.amounts_from or self.features):
            raise ValueError(
                f"rule {self.name}: states no condition and would match every payment; give it cards, merchants, "
                "countries, amounts_from or features"
            )

    @property
    def entries(self) -> int:
        """The number of cards, merchants, countries and texts of categories."""
        texts = sum(len(one.among) for one in self.features.values())
        return len(self.cards) + len(self.merchants) + len(self.countries) + texts


class RuleSet(msgspec.Struct, frozen=True, omit_defaults=True, forbid_unknown_fields=True):
    """The rules of a model, as a file of rules and a manifest hold them; `version` is free, for people."""

    rules: Annotated[tuple[ListRule, ...], msgspec.Meta(min_length=1, max_length=MOST_RULES)]
    version: RuleVersion | None = None

    def __post_init__(self) -> None:
        names = [one.name for one in self.rules]
        if twice := sorted({one for one in names if names.count(one) > 1}):
            raise ValueError(f"rules: {', '.join(twice)}: a name occurs twice")
        if (entries := sum(one.entries for one in self.rules)) > MOST_ENTRIES:
            raise ValueError(
                f"rules: {entries:,} cards, merchants, countries and texts, at most {MOST_ENTRIES:,} are possible"
            )

    @property
    def features(self) -> frozenset[str]:
        """The features that the rules look at."""
        return frozenset(name for rule in self.rules for name in rule.features)

    @property
    def counts(self) -> dict[RuleAction, int]:
        """How many rules there are, by action."""
        return {action: sum(rule.action is action for rule in self.rules) for action in RuleAction}


class Ruling(NamedTuple):
    """What a rule makes of one payment.

    `by` is the entry of `overruled`; None if the rule leaves the decision as the model said it. Then no lot may let the
    payment through all the same.
    """

    decision: Decision
    by: str | None


class RuleMatcher:
    """Applies the rules of a model to batches of payments."""

    def __init__(self, rules: RuleSet, feature_names: Sequence[str]) -> None:
        """Take the rules of a manifest, and the names of its features in the order of the columns."""
        self.conditions = tuple(_Conditions(rule, feature_names) for rule in sorted(rules.rules, key=_precedence))
        """Those of each rule, in the order of precedence."""
        self.reads_countries = any(rule.countries for rule in rules.rules)

    def rulings(self, said: Sequence[Decision], payments: Payments, matrix: Floats) -> dict[int, Ruling]:
        """Return what rules make of the payments that they match, by row; those that nothing becomes of are left out.

        Args:
            said: what the model decided on each of n payments.
            payments: the payments.
            matrix: the features that the model decided by, of shape (n, features).
        """
        return _rulings([(one, matrix) for one in self.conditions], said, payments)


_Placed = tuple["_Conditions", Floats]
"""The conditions of a rule, and the features that they look at."""


def rulings_of(
    own: Sequence[tuple[RuleMatcher, Floats]],
    live: Sequence[tuple[RuleMatcher, Floats]],
    said: Sequence[Decision],
    payments: Payments,
) -> dict[int, Ruling]:
    """Return the rulings on decisions of a model that may stand in for the live one, as `RuleMatcher.rulings` does.

    The live model's rules that block or review come beside those of the model, as if both were one file with its own
    first. The live model's allowances do not: nobody has weighed them against what another model says.

    Args:
        own: the rules of the model that has decided, if it has any, with its features of n payments.
        live: those of the live model, if the model stands in for it and it has any, with its features.
        said: what the model decided on each payment.
        payments: the payments.
    """
    placed = [(one, matrix) for rules, matrix in own for one in rules.conditions]
    placed += [
        (one, matrix) for rules, matrix in live for one in rules.conditions if one.rule.action is not RuleAction.ALLOW
    ]
    return _rulings(sorted(placed, key=lambda one: _precedence(one[0].rule)), said, payments)


def _precedence(rule: ListRule) -> int:
    return list(RuleAction).index(rule.action)


def _rulings(placed: Sequence[_Placed], said: Sequence[Decision], payments: Payments) -> dict[int, Ruling]:
    first = np.full(len(payments), -1, np.int64)
    distinct = [frozenset(one) for one in (payments.card_ids, payments.merchant_ids, payments.countries)]
    for at, (rule, matrix) in enumerate(placed):
        matched = rule.matches(payments, distinct, matrix)
        if matched is not None:
            first[matched & (first < 0)] = at
    which = np.flatnonzero(first >= 0).tolist()
    found = {at: _ruling(placed[int(first[at])][0].rule, said[at]) for at in which}
    return {at: ruling for at, ruling in found.items() if ruling is not None}


def _ruling(rule: ListRule, said: Decision) -> Ruling | None:
    """Return what a rule makes of a decision; None: nothing at all.

    A block stands on the record where the model declines, too: then neither a lot nor the cap on declines undoes it.
    """
    by = f"{RULE}{rule.name}"
    match rule.action:
        case RuleAction.BLOCK:
            return Ruling(Decision.DECLINE, by)
        case RuleAction.REVIEW:
            if said is Decision.DECLINE:
                return Ruling(said, None)
            return None if said is Decision.REVIEW else Ruling(Decision.REVIEW, by)
        case RuleAction.ALLOW:
            return None if said is Decision.APPROVE else Ruling(Decision.APPROVE, by)


class _Conditions:
    """The conditions of one rule, with its lists as sets and its features as columns."""

    def __init__(self, rule: ListRule, feature_names: Sequence[str]) -> None:
        self.rule = rule
        self._lists = [frozenset[Any](one) for one in (rule.cards, rule.merchants, rule.countries)]
        self._bounds = [(feature_names.index(name), bound) for name, bound in rule.features.items()]

    def matches(self, payments: Payments, distinct: Sequence[Collection[Any]], matrix: Floats) -> Bools | None:
        """Tell which payments match; None: none does. `distinct` has the values of each column that lists look at."""
        columns = (payments.card_ids, payments.merchant_ids, payments.countries)
        stated = [place for place, listed in enumerate(self._lists) if listed]
        if any(self._lists[place].isdisjoint(distinct[place]) for place in stated):
            return None
        flags = [_among(columns[place], self._lists[place]) for place in stated]
        flags += [*self._amount_flags(payments), *self._feature_flags(matrix)]
        matched: Bools = np.logical_and.reduce(flags)
        return matched

    def _amount_flags(self, payments: Payments) -> Iterator[Bools]:
        least: Mapping[str, int] = self.rule.amounts_from
        if least:
            beyond = MOST_MINOR + 1
            bounds = np.fromiter((least.get(one, beyond) for one in payments.currencies), np.int64, len(payments))
            yield payments.amounts_minor >= bounds

    def _feature_flags(self, matrix: Floats) -> Iterator[Bools]:
        for column, bound in self._bounds:
            if bound.above is not None:
                yield matrix[:, column] > bound.above
            if bound.below is not None:
                yield matrix[:, column] < bound.below
            if bound.codes:
                yield np.isin(matrix[:, column], bound.codes)


def _among(values: Sequence[Any], listed: frozenset[Any]) -> Bools:
    return np.fromiter((one in listed for one in values), np.bool_, len(values))
