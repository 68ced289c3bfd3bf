"""What the judge asks of a hand-over: of its evidence, its term, and the deployment that is to publish."""

from collections.abc import Iterator

from models.commands import Command, CommandKind
from models.lineup import Lineup
from models.problems import Problem, ProblemCode
from models.terms import Term


def cut_over_problems(lineup: Lineup, command: Command, term: Term) -> Iterator[Problem]:
    """Refuse a hand-over of an old term, to a fleet without a model, or without evidence that the fleet may publish."""
    if command.kind is not CommandKind.CUT_OVER:
        return
    if command.expected_revision != term.number:
        detail = f"the command expects term {command.expected_revision}, the current one is {term.number}"
        yield Problem(ProblemCode.STALE_TERM, f"{detail}, in which {term.publisher} publishes")
    if lineup.live is None:
        detail = f"no model is live in deployment {lineup.deployment}, so it could decide nothing; promote one in it"
        yield Problem(ProblemCode.NOTHING_LIVE, detail)
    elif term.publisher == lineup.deployment:
        yield Problem(ProblemCode.NOTHING_CHANGES, f"deployment {lineup.deployment} publishes already")
    if not command.force and (command.evidence or {}).get("go") is not True:
        detail = "the evidence does not say that the deployment may publish (`go`: true)"
        advice = f"`fraudstream deployment status {lineup.deployment}` says why not; --force does it all the same"
        yield Problem(ProblemCode.NO_GO, f"{detail}; {advice}")
