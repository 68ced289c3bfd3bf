"""Options of reports about outcomes: what decisions cost, and the currency in which models are compared."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from stream.contract.iso import CURRENCY_DECIMALS
from stream.contract.money import parse_daily_amount
from stream.outcomes.costs import CAP_MINOR, Cost, StatedCosts, parse_cost

_Stated = TypeVar("_Stated")
_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])


class CurrencyParam(click.ParamType):
    """Reads an ISO 4217 code, in capitals or not."""

    name = "code"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the code, or fail with what was expected."""
        code = str(value).upper()
        if code not in CURRENCY_DECIMALS:
            self.fail(f"{str(value)[:80]!r} is not an ISO 4217 code with a minor unit, such as EUR", param, ctx)
        return code


class CostParam(click.ParamType):
    """Reads `EUR 2.00 + 5%` as a currency and a cost."""

    name = "cost"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Cost]:
        """Return both, or fail with what was expected."""
        try:
            return parse_cost(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class CardCapParam(click.ParamType):
    """Reads `EUR 500` as a currency and minor units."""

    name = "amount"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """Return both, or fail with what was expected."""
        try:
            currency, minor = parse_daily_amount(str(value))
        except ValueError as error:
            self.fail(f"{error}; expected a currency and an amount, such as 'EUR 500'", param, ctx)
        if not minor:
            self.fail(f"{value}: expected an amount above 0", param, ctx)
        return currency, minor


def _by_currency(
    _context: click.Context, _option: click.Parameter, given: Sequence[tuple[str, _Stated]]
) -> Mapping[str, _Stated]:
    found = dict(given)
    if len(found) < len(given):
        raise click.BadParameter("a currency is given twice")
    return found


_OPTIONS = (
    click.option("--currency", type=CurrencyParam(), help="Compare in it; by default that of most payments."),
    click.option(
        "--review-cost",
        type=CostParam(),
        multiple=True,
        callback=_by_currency,
        help="Of a review, e.g. 'EUR 3.00'; repeat it for each currency.  [default: 300 minor units]",
    ),
    click.option(
        "--decline-cost",
        type=CostParam(),
        multiple=True,
        callback=_by_currency,
        help="Of a wrong decline, e.g. 'EUR 2.00 + 5%' of the amount; repeatable.  [default: 200 minor units + 5%]",
    ),
    click.option(
        "--card-cap",
        type=CardCapParam(),
        multiple=True,
        callback=_by_currency,
        help=f"A card's loss counts up to this amount, e.g. 'EUR 500'.  [default: {CAP_MINOR:,} minor units]",
    ),
)


def cost_options(function: _Decorated) -> _Decorated:
    """Add the options; a function gets `currency`, `review_cost`, `decline_cost` and `card_cap`, by currency."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def stated_costs(options: Mapping[str, Any]) -> StatedCosts:
    """Return the costs and caps among the values of options."""
    return StatedCosts(options["review_cost"], options["decline_cost"], options["card_cap"])
