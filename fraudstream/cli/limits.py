"""`fraudstream limits`: sets and shows what overrules decisions and promotions, in all workers of a deployment."""

import asyncio
from collections.abc import Sequence
from typing import Any

import click
import msgspec

from fraudstream.cli.arguments import OFF, AlertBudgetParam, BudgetParam, CapParam, DailyAmountParam, LetThroughParam
from fraudstream.cli.commands import reason_option, refused_arguments, revision_option, send_kind, wait_option
from fraudstream.cli.lazy import CommandGroup
from fraudstream.cli.let_through import LetThroughToday, look_at_today
from fraudstream.cli.output import json_option, say
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import settings_or_refuse
from models.commands import CommandKind
from models.decline_cap import WINDOW
from models.let_through import LetThrough, LetThroughWish
from models.limits import Limits
from models.volume import VolumeBudget
from stream.control.client import read_fold
from stream.control.limits_text import let_through_text, limits_text, promotion_texts


@click.group(cls=CommandGroup)
def limits() -> None:
    """Set and show what overrules decisions, and whether a promotion needs a verdict."""


@limits.command("set")
@click.option(
    "--decline-cap",
    type=CapParam(),
    help=f"Of the last {WINDOW:,} decisions of an arm in a partition, the share that may be declines, e.g. 2%; what is "
    "declined beyond it is reviewed. `off` removes the cap.",
)
@click.option(
    "--let-through",
    "share_bp",
    type=LetThroughParam(),
    help="Of what models decline, the share that is approved by lot, e.g. 0.5%. `off` ends it.",
)
@click.option(
    "--let-through-cap",
    "caps",
    type=DailyAmountParam(),
    multiple=True,
    help="How much may be let through on a UTC day over all partitions, e.g. 'EUR 500 a day'; repeat it for each "
    "currency, others are never let through.",
)
@click.option(
    "--promote-needs-verdict/--promote-needs-no-verdict",
    "promote_needs_verdict",
    default=None,
    help="Refuse to promote a model, or to begin its rollout, without a verdict PROMOTE; see `shadow verdict`.",
)
@click.option(
    "--alert-budget",
    type=AlertBudgetParam(),
    help="Of all payments, the share that a promoted model may alert on (review or decline), e.g. 0.6%. `off` ends all "
    "of the budget.",
)
@click.option("--decline-budget", type=BudgetParam(), help="Of all payments, the share that it may decline.")
@click.option(
    "--volume-change",
    type=BudgetParam(),
    help="How far its alert share may be from the live model's, as a share of that, e.g. 20%.",
)
@click.option("--salt", help="Keys the hash that draws the lots; by default the command's id.")
@reason_option
@revision_option
@wait_option
@json_option
def set_command(
    decline_cap: float | None,
    share_bp: int | None,
    caps: Sequence[tuple[str, int]],
    salt: str | None,
    promote_needs_verdict: bool | None,  # noqa: FBT001 - a flag
    **options: Any,  # noqa: ANN401 - click's options
) -> None:
    """Set limits of a deployment's decisions and promotions; they hold for every model until they are set again.

    What is not named stays as it is. A let-through is set as a whole: its share, and all of its caps; so is the budget
    of alerts.
    """
    with refused_arguments():
        wish, budget = _wish(share_bp, caps, salt), _budget(options)
        if decline_cap is None and wish is None and promote_needs_verdict is None and budget is None:
            raise ValueError(
                "nothing to set: give --decline-cap, --let-through, --promote-needs-verdict or --alert-budget"
            )
    stated = options | {"promote_needs_verdict": promote_needs_verdict, "volume_budget": budget}
    send_kind(CommandKind.LIMITS, decline_cap=decline_cap, let_through=wish, **stated)


def _budget(options: dict[str, Any]) -> VolumeBudget | None:
    """Take the options of a budget of alerts, and return it; one that asks for nothing ends it, None: it stays.

    Raises:
        ValueError: they do not belong together.
    """
    alerts, *others = (options.pop(name) for name in ("alert_budget", "decline_budget", "volume_change"))
    if alerts == OFF:
        if any(one is not None for one in others):
            raise ValueError("--alert-budget off ends the whole budget, without --decline-budget and --volume-change")
        return VolumeBudget()
    budget = VolumeBudget(alerts, *others)
    return None if budget.asks_nothing else budget


def _wish(share_bp: int | None, caps: Sequence[tuple[str, int]], salt: str | None) -> LetThroughWish | None:
    """Return the let-through that options ask for; None if they ask for none.

    Raises:
        ValueError: they do not belong together.
    """
    if share_bp is None:
        if caps or salt is not None:
            raise ValueError("--let-through-cap and --salt belong to --let-through, which is missing")
        return None
    by_currency = dict(caps)
    if len(by_currency) < len(caps):
        raise ValueError("--let-through-cap: a currency is given twice")
    if bool(share_bp) != bool(by_currency):
        raise ValueError(
            "--let-through needs a cap in money: --let-through-cap 'EUR 500 a day'"
            if share_bp
            else "--let-through off takes no --let-through-cap"
        )
    return LetThroughWish(share_bp, by_currency, salt)


@limits.command("show")
@json_option
def show_command(as_json: bool) -> None:  # noqa: FBT001 - a flag
    """Show the limits of a deployment's decisions, and what was let through today."""
    settings = settings_or_refuse()
    with Refusals(settings):
        fold = asyncio.run(read_fold(settings))
    lineup, found = fold.lineup, fold.lineup.limits or Limits()
    facts: dict[str, Any] = {
        "deployment": lineup.deployment,
        "revision": lineup.revision,
        "decline_cap": found.cap and found.cap.share,
        "promote_needs_verdict": found.promote_needs_verdict,
        "volume_budget": msgspec.to_builtins(found.volume_budget),
    }
    lines = [f"revision {lineup.revision}: {_described(found)}"]
    facts["let_through"] = None
    if found.let_through is not None:
        today = asyncio.run(look_at_today(settings, fold.term, found.let_through))
        facts["let_through"] = _facts(found.let_through, today)
        lines.append(f"what was let through today is unknown: {today}" if isinstance(today, str) else today.text())
    say(as_json, facts, "\n".join(lines))


def _facts(rule: LetThrough, today: LetThroughToday | str) -> dict[str, Any]:
    """Return a let-through for JSON; `today` is null where it is not known."""
    known = None if isinstance(today, str) else today.facts()
    return {**msgspec.to_builtins(rule), "propensity": rule.propensity, "today": known}


def _described(limits: Limits) -> str:
    """Return limits for people, with what they mean."""
    text = limits_text(Limits(limits.decline_cap))
    if limits.cap is not None:
        text += (
            f", that is {limits.cap.most} of the last {WINDOW:,} decisions of an arm in a partition; "
            "what is declined beyond it is reviewed"
        )
    parts = [text, *([] if limits.let_through is None else [let_through_text(limits.let_through)])]
    return "; ".join([*parts, *promotion_texts(limits)])
