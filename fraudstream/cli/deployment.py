"""`fraudstream deployment`: two deployments side by side, go or no-go, and the hand-over from one to the other."""

from collections.abc import Callable
from typing import Any

import click

from fraudstream.cli.arguments import BudgetParam, DeploymentParam, GroupParam, MomentParam
from fraudstream.cli.commands import Option, countersigned_wait_option, reason_option
from fraudstream.cli.lazy import CommandGroup
from fraudstream.cli.output import json_option

_MOST_MINUTES = 7 * 24 * 60
_LONGEST_DEADLINE_SECONDS = 3_600
_OPTIONS: tuple[Option, ...] = (
    click.option(
        "--minutes",
        type=click.FloatRange(0, _MOST_MINUTES, min_open=True),
        default=60.0,
        show_default=True,
        help="Compare the decisions of the last minutes; at most the newest 200,000 of each deployment.",
    ),
    click.option("--since", "since_ms", type=MomentParam(), help="Compare the decisions since this time, instead."),
    click.option(
        "--budget",
        type=BudgetParam(),
        default="1%",
        show_default=True,
        help="The share of the compared payments that may be decided differently, or by one side alone.",
    ),
    click.option(
        "--minimum",
        type=click.IntRange(0),
        default=500,
        show_default=True,
        help="So many payments at least have to be compared.",
    ),
    click.option(
        "--records",
        type=click.IntRange(0),
        default=1_000,
        show_default=True,
        help="So many records it may be behind the last published decision.",
    ),
    click.option(
        "--fault-minutes",
        type=click.FloatRange(0, _MOST_MINUTES, min_open=True),
        default=10.0,
        show_default=True,
        help="It may have had no fault for so long.",
    ),
    click.option(
        "--sample",
        type=click.IntRange(0, 1_000_000),
        default=1_000,
        show_default=True,
        help="So many of its own newest decisions are rescored as by `score --topic --diff`, which reads all "
        "transactions that they depend on, up to 45 days; 0: none, and the gate is not passed.",
    ),
    click.option(
        "--reproduced",
        is_flag=True,
        help="State that its decisions reproduce, by a `score --topic --diff` of your own; none is rescored then.",
    ),
    click.option(
        "--group",
        "groups",
        type=GroupParam(),
        multiple=True,
        metavar="DEPLOYMENT=GROUP",
        help="The consumer group of a deployment, if it is another than `fraudstream-<deployment>`; repeatable.",
    ),
    json_option,
)


def _looking(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what is looked at, and what the gates ask for."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.group(cls=CommandGroup)
def deployment() -> None:
    """Compare two deployments on the same topics, and let one take over from the other."""


@deployment.command("status")
@click.argument("name", type=DeploymentParam(), metavar="[DEPLOYMENT]", required=False)
@_looking
def status(name: str | None, **options: Any) -> None:  # noqa: ANN401 - click's options
    """Show who publishes and who is silent, and how their decisions differ.

    With the name of a silent DEPLOYMENT, the first lines say whether it may publish, gate by gate. Run it with the
    settings and the code of that deployment: its Redis and its features are known to these alone.
    """
    from fraudstream.cli.deployment_status import print_status  # noqa: PLC0415 - numpy and rich, late

    print_status(name, options)


@deployment.command("cut-over")
@click.argument("name", type=DeploymentParam(), metavar="DEPLOYMENT")
@click.option(
    "--force", is_flag=True, help="Hand over although a gate or a worker says no; the record says so for ever."
)
@reason_option
@countersigned_wait_option
@click.option(
    "--deadline",
    type=click.FloatRange(0, _LONGEST_DEADLINE_SECONDS, min_open=True),
    default=60.0,
    show_default=True,
    help="Seconds in which each partition with payments must have a decision of the new term.",
)
@_looking
def cut_over(name: str, **options: Any) -> None:  # noqa: ANN401 - click's options
    """Let DEPLOYMENT publish its decisions from now on; the one that does decides silently then.

    It is refused while a gate says no, and by the workers of DEPLOYMENT that could not publish now. The way back is
    the same command with the other name: then only the state of that deployment counts, and nothing is compared.
    """
    from fraudstream.cli.deployment_handover import run_cut_over  # noqa: PLC0415 - numpy and rich, late

    run_cut_over(name, options)
