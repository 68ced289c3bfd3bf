"""What a guard is told at its start, as options that `guard` and `rollout status` share."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import click

from fraudstream.cli.arguments import Duration
from fraudstream.ops.rollout.guard.finding import Limits
from guards.ladder import LEAST_DECISIONS

COOL_DOWN_SECONDS = 600.0


def watching_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options, and pass them on as `limits`."""

    @click.option(
        "--cool-down",
        type=Duration(),
        default=f"{COOL_DOWN_SECONDS:g}",
        show_default="10min",
        help="For how long after a breach nothing climbs.",
    )
    @click.option(
        "--least-decisions",
        type=click.IntRange(1),
        default=LEAST_DECISIONS,
        show_default=True,
        help="Of the canary, without which no rung is left.",
    )
    @wraps(function)
    def run(*arguments: Any, cool_down: float, least_decisions: int, **options: Any) -> Any:  # noqa: ANN401
        return function(*arguments, limits=Limits(round(cool_down * 1000), least_decisions), **options)

    return run
