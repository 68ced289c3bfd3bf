"""Options of reports about outcomes: what decisions cost, and the currency in which arms are compared."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from fraudstream.cli.shadow_verdict import AmountParam, CostParam, CurrencyParam
from fraudstream.ops.rollout.outcomes.costs import CAP_MINOR, DECLINE_COST, REVIEW_COST, StatedCosts

_Stated = TypeVar("_Stated")
_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


def _by_currency(
    _context: click.Context, _option: click.Parameter, given: Sequence[tuple[str, _Stated]]
) -> Mapping[str, _Stated]:
    found = dict(given)
    if len(found) < len(given):
        raise click.BadParameter("a currency is given twice")
    return found


_DECLINE_PERCENT = DECLINE_COST.share_bp / 100
_DECISION_COSTS = (
    click.option(
        "--review-cost",
        "review",
        type=CostParam(),
        multiple=True,
        callback=_by_currency,
        help="What a review costs, e.g. 'EUR 3.00'; repeat it for each currency. By default "
        f"{REVIEW_COST.fixed_minor} minor units.",
    ),
    click.option(
        "--decline-cost",
        "decline",
        type=CostParam(),
        multiple=True,
        callback=_by_currency,
        help="What a wrong decline costs, e.g. 'EUR 2.00 + 5%' of the amount. By default "
        f"{DECLINE_COST.fixed_minor} minor units + {_DECLINE_PERCENT:g}%.",
    ),
)
_OPTIONS = (
    click.option("--currency", type=CurrencyParam(), help="Compare in it; by default that of most payments."),
    *_DECISION_COSTS,
    click.option(
        "--cap",
        "caps",
        type=AmountParam(),
        multiple=True,
        callback=_by_currency,
        help=f"A card's loss counts up to this, e.g. 'EUR 500'. By default {CAP_MINOR:,} minor units.",
    ),
)


def cost_options(function: _Decorated) -> _Decorated:
    """Add the options; a function gets `currency`, and `review`, `decline` and `caps` by currency."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def decision_cost_options(function: _Decorated) -> _Decorated:
    """Add the options of costs alone; a function gets `review` and `decline` by currency."""
    for option in reversed(_DECISION_COSTS):
        function = option(function)
    return function


def stated_costs(options: Mapping[str, Any]) -> StatedCosts:
    """Return the costs and caps among the values of options."""
    return StatedCosts(options["review"], options["decline"], options.get("caps", {}))
