"""Options that say how a model decides: by fixed thresholds, a budget of alerts or costs, and by which rules.

Beside them are those that say which outcomes it is calibrated on, and whether it may be weak.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.ops.rollout.outcomes.costs import Cost, parse_cost
from fraudstream_client.arms import WHOLE_BP
from metrics.money import CostMatrix
from models.arms import parse_share
from models.calibration import CalibrationMethod
from models.cost_policy import CostPolicy
from models.errors import InvalidShareError
from models.list_rules import RuleSet
from models.policy import Policy
from models.volume import AlertBudget, Allowance

if TYPE_CHECKING:
    from fraudstream.lab.training.request import PolicyWish

FIXED, BUDGET, COST = "fixed", "budget", "cost"
_Command = TypeVar("_Command", bound=Callable[..., Any])
_A_DAY = re.compile(r"\s*([0-9]{1,9}(?:\.[0-9]+)?) a day\s*")
_OF_KIND: Mapping[str, tuple[str, ...]] = {
    FIXED: ("review_at", "decline_at"),
    BUDGET: ("alert_budget", "decline_budget"),
    COST: ("review_cost", "decline_cost"),
}
"""The options of each kind of policy; a kind needs all of its own."""


class AllowanceParam(click.ParamType):
    """Reads `0.5%` of the payments, or `200 a day`."""

    name = "budget"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Allowance:
        """Return the allowance, or fail with what was expected."""
        if isinstance(value, Allowance):
            return value
        if found := _A_DAY.fullmatch(str(value)):
            return Allowance(a_day=float(found[1]))
        try:
            return Allowance(share=parse_share(str(value)) / WHOLE_BP)
        except InvalidShareError as error:
            self.fail(f"{error}, and {value!r} is no number such as '200 a day'", param, ctx)


class PolicyCostParam(click.ParamType):
    """Reads `EUR 2.00 + 5%` as a currency, a fixed sum and a share of the amount."""

    name = "cost"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, Cost]:
        """Return the currency and the cost, or fail with what was expected."""
        try:
            return value if isinstance(value, tuple) else parse_cost(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


_OPTIONS = (
    click.option(
        "--policy",
        "kind",
        type=click.Choice([FIXED, BUDGET, COST]),
        help="How scores become decisions; by default as the options below say.",
    ),
    click.option("--review-at", type=click.FloatRange(0), help="Fixed: review from this score on; above 1: never."),
    click.option("--decline-at", type=click.FloatRange(0), help="Fixed: decline from this score on; above 1: never."),
    click.option("--alert-budget", type=AllowanceParam(), help="Budget: most alerts, as '0.5%' or '200 a day'."),
    click.option("--decline-budget", type=AllowanceParam(), help="Budget: most declines among them."),
    click.option(
        "--review-cost",
        type=PolicyCostParam(),
        multiple=True,
        help="Cost: what a review costs, e.g. 'EUR 3.00'; repeat it for each currency.",
    ),
    click.option(
        "--decline-cost",
        type=PolicyCostParam(),
        multiple=True,
        help="Cost: what a wrong decline costs, e.g. 'EUR 2.00 + 5%' of the amount; repeat it for each currency.",
    ),
    click.option(
        "--rules",
        "rules_file",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Lists that block, review or allow beside the model: a .toml or .json file.",
    ),
)
maturity_option = click.option(
    "--maturity-days",
    type=click.FloatRange(0),
    metavar="DAYS",
    help="A payment without a label counts as genuine when it is so old, and no younger one counts.  [default: only "
    "labels count; where only frauds have some, as long as 19 of 20 take]",
)
accept_weak_option = click.option(
    "--accept-weak",
    is_flag=True,
    help="Store the model even if its ranking may be chance, it alerts three times what was asked, it has fewer than "
    "10 trees, or most payments have no label; it is stored as weak.",
)
calibration_option = click.option(
    "--calibration",
    type=click.Choice([one.value for one in CalibrationMethod]),
    callback=lambda _context, _option, value: None if value is None else CalibrationMethod(value),
    help="By default the one with the lowest log loss on the last third of the calibrate part.",
)


def policy_options(function: _Command) -> _Command:
    """Add the options; `policy_wish` takes their values."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def policy_wish(options: dict[str, Any]) -> "PolicyWish":
    """Take the values of the options out of a command's, and return the policy that they ask for.

    Exits with 1 if the file of rules cannot be used, with 2 if the options contradict each other.
    """
    kind, file = options.pop("kind"), options.pop("rules_file")
    given = {name: options.pop(name) for names in _OF_KIND.values() for name in names}
    stated = {one: [name for name in names if given[name] not in (None, ())] for one, names in _OF_KIND.items()}
    kinds = [one for one, names in stated.items() if names] or ([kind] if kind else [])
    if len(kinds) > 1 or (kind and kinds != [kind]):
        all_given = ", ".join(_option(name) for names in stated.values() for name in names)
        raise click.UsageError(
            f"--policy {kind or ' or '.join(kinds)}: {all_given} belong to another one, or to several"
        )
    from fraudstream.lab.training.request import PolicyWish  # noqa: PLC0415 - a roll-back, which has no policy, need not wait

    rules = None if file is None else _rules(file)
    if not kinds:
        return PolicyWish(rules=rules)
    if missing := [name for name in _OF_KIND[kinds[0]] if name not in stated[kinds[0]]]:
        raise click.UsageError(f"--policy {kinds[0]} needs {' and '.join(map(_option, missing))}")
    return _made(kinds[0], given)._replace(rules=rules)


def _made(kind: str, given: Mapping[str, Any]) -> "PolicyWish":
    from fraudstream.lab.training.request import PolicyWish  # noqa: PLC0415 - likewise

    if kind == BUDGET:
        return PolicyWish(budget=AlertBudget(given["alert_budget"], given["decline_budget"]))
    if kind == COST:
        return PolicyWish(costs=_costs(dict(given["review_cost"]), dict(given["decline_cost"])))
    try:
        return PolicyWish(thresholds=Policy(given["review_at"], given["decline_at"]))
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _costs(review: Mapping[str, Any], decline: Mapping[str, Any]) -> CostPolicy:
    if one_sided := sorted(review.keys() ^ decline.keys()):
        raise click.UsageError(f"{', '.join(one_sided)}: state both --review-cost and --decline-cost of a currency")
    return CostPolicy({code: CostMatrix(*review[code], *decline[code]) for code in sorted(review)})


def _rules(file: Path) -> RuleSet:
    from fraudstream.cli.feature_sets import features_or_refuse  # noqa: PLC0415 - likewise
    from fraudstream.lab.training.rules_file import read_rules  # noqa: PLC0415 - likewise

    declared = features_or_refuse(settings_or_refuse().features).fields
    with Refusals():
        return read_rules(file, declared)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
