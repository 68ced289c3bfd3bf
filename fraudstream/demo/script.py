"""The script of the demo: what each act shows, the commands that do it, and the one that shows what came of it.

The commands are what the demo runs, and what a viewer can type after `source` of the settings.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from fraudstream.demo.plan import Action, DemoPlan, ModelSpec
from fraudstream.demo.shell import Command
from fraudstream.demo.stack import FIRST, GREEN
from models.commands import CommandKind

NAME = "cards"
SHORT = 8
LADDER = "10% 1h, 100%"
BUDGET = "10%"
"""So many decisions of green may differ: its model is meant to decide otherwise. The default is 1%."""
GREEN_STATUS = ("deployment", "status", GREEN, "--budget", BUDGET, "--reproduced")


class Act(NamedTuple):
    """One act.

    Attributes:
        action: what is done.
        shows: what can be seen.
        commands: what does it; all but the last go on running beside. Empty: a signal.
        look: what shows what came of it.
        kind: that of the command to the workers, if the act has one.
        model: the digest that the command names, if it names one.
        in_green: whether the settings are those of the second fleet.
    """

    action: Action
    shows: str
    commands: tuple[Command, ...]
    look: Command
    kind: CommandKind | None = None
    model: str | None = None
    in_green: bool = False


def script(first: str, second: str, bad: str) -> Mapping[Action, Act]:
    """Return all acts; models by digest: of the one that is live first, the better one, and the bad one."""
    history = ("model", "history")
    acts = (
        Act(
            Action.GO_LIVE,
            "a model decides from now on; until here, payments would wait",
            (("model", "promote", first[:SHORT]),),
            ("model", "list"),
            CommandKind.PROMOTE,
            first,
        ),
        Act(
            Action.CHALLENGE,
            "a second model scores the same payments, and decides none",
            (("model", "challenge", second[:SHORT]),),
            ("shadow", "report"),
            CommandKind.CHALLENGE,
            second,
        ),
        Act(
            Action.PROMOTE,
            "the second model decides, from one offset on in each partition",
            (("model", "promote", second[:SHORT]),),
            history,
            CommandKind.PROMOTE,
            second,
        ),
        Act(Action.KILL, "the worker is killed: nothing is lost, nothing is decided twice", (), ("status",)),
        Act(
            Action.ROLL_BACK,
            "the model before decides again; it was kept loaded",
            (("model", "rollback"),),
            history,
            CommandKind.ROLL_BACK,
        ),
        Act(
            Action.CANARY,
            "a bad model decides for 10% of the cards, and a guard ends it",
            (("guard",), ("rollout", "start", bad[:SHORT], "--ladder", LADDER)),
            ("rollout", "status"),
            CommandKind.ROLLOUT,
            bad,
        ),
        Act(
            Action.START_GREEN,
            "a second fleet fills histories of its own, and decides silently",
            (("worker",), ("model", "promote", second[:SHORT])),
            GREEN_STATUS,
            in_green=True,
        ),
        Act(
            Action.CUT_OVER,
            "the second fleet publishes, from one offset on in each partition",
            (("deployment", "cut-over", GREEN, "--budget", BUDGET, "--sample", "200"),),
            ("deployment", "status"),
            in_green=True,
        ),
        Act(
            Action.GO_BACK,
            "the first fleet publishes again",
            (("deployment", "cut-over", FIRST),),
            ("deployment", "status"),
        ),
    )
    return {act.action: act for act in acts}


def topics_command(plan: DemoPlan) -> Command:
    """Return what creates the topics."""
    return ("topics", "apply", "--partitions", str(plan.partitions))


def train_command(history: Path, spec: ModelSpec, plan: DemoPlan) -> Command:
    """Return what trains one of the models on its history."""
    options = {
        "name": NAME,
        "version": spec.version,
        "trees": spec.trees,
        "leaves": spec.leaves,
        "learning-rate": spec.learning_rate,
        "patience": 0,  # the models differ by their numbers of trees
        "gap": "2d",  # by the label delay, too little of 39 days would be left
        "review-share": plan.review_share,
        "decline-share": plan.decline_share,
        "seed": plan.seed,
        "threads": 1,  # on a busy machine two threads take four times as long as one, waiting for each other
    }
    return ("train", str(history), *(part for name, value in options.items() for part in (f"--{name}", str(value))))


def bad_policy_command(digest: str, threshold: float) -> Command:
    """Return what stores the live model once more, with a policy that declines from a far lower score on."""
    at = f"{threshold:.6g}"
    return ("model", "policy", digest[:SHORT], "--review-at", at, "--decline-at", at, "--version", "bad")


def verdict_command(digest: str, page: Path) -> Command:
    """Return what judges the second model, and writes the page."""
    return ("shadow", "verdict", "--digest", digest[:SHORT], "--report", str(page))
