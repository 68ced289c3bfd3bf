"""`fraudstream deployment cut-over`: go or no-go, the command with it as evidence, and the hand-over to its end."""

import asyncio
from collections.abc import Mapping
from getpass import getuser
from typing import Any, NoReturn

import msgspec
from rich.console import Group

from fraudstream.cli.commands import refused_arguments, verdict_on, verdict_text, wait_of
from fraudstream.cli.deployment_survey import Found, look
from fraudstream.cli.output import refuse, say
from fraudstream.cli.progress import bars
from fraudstream.cli.refusals import Refusals
from fraudstream.console import terminal
from fraudstream.ops.report.terminal import headline_on_terminal, sections_on_terminal
from fraudstream.ops.rollout.deployments.gates import GoNoGo, evidence_of
from fraudstream.ops.rollout.deployments.handover import Begun, HandoverReport, watch_handover
from fraudstream.ops.rollout.deployments.sections import gates_section, go_headline, handover_section
from fraudstream.ops.rollout.deployments.state import Target
from fraudstream.terminal import echo
from models.commands import CommandKind, Event, EventKind
from stream.control.client import CommandRequest


def run_cut_over(name: str, options: Mapping[str, Any]) -> None:
    """Hand over to a deployment; exit with 1 if that is refused, or if it does not go on within the deadline."""
    found = look(name, options, always_compare=False)
    target, findings, as_json = found.survey.target, found.findings, options["as_json"]
    if target is None or findings is None:
        refuse(f"deployment {name} publishes already, in term {found.survey.publishers.term.number}")
    if not as_json:
        shown = headline_on_terminal(go_headline(findings)), sections_on_terminal((gates_section(findings),))
        terminal().print(Group(*shown))
    if not findings.go and not options["force"]:
        _refuse_no_go(findings, as_json=as_json)
    verdict = _send(found, target, findings, options)
    if verdict.kind is not EventKind.ACCEPTED:
        facts = {**findings.facts(), "verdict": msgspec.to_builtins(verdict), "handover": None}
        say(as_json, facts, verdict_text(verdict))
        raise SystemExit(1)
    begun = Begun(int(verdict.term or 0), verdict.at, str(found.survey.publishers.term.publisher))
    report = _watch(target, begun, options["deadline"])
    if as_json:
        facts = {**findings.facts(), "verdict": msgspec.to_builtins(verdict)}
        say(as_json, facts | {"handover": msgspec.to_builtins(report) | {"done": report.done}}, "")
    else:
        terminal().print(sections_on_terminal((handover_section(report),)))
    if not report.done:
        raise SystemExit(1)


def _refuse_no_go(findings: GoNoGo, *, as_json: bool) -> NoReturn:
    if as_json:
        say(as_json, {**findings.facts(), "verdict": None, "handover": None}, "")
    refuse("nothing was sent; --force hands over all the same, on the record")


def _send(found: Found, target: Target, findings: GoNoGo, options: Mapping[str, Any]) -> Event:
    """Send the command for the term that was found, with the gates as evidence, and return its verdict."""
    settings, term = target.settings, found.survey.publishers.term
    if not findings.go:
        echo("no-go: it is sent with --force, and its evidence says so", err=True)
    with refused_arguments():
        request = CommandRequest(
            CommandKind.CUT_OVER,
            settings.actor or getuser(),
            options["reason"],
            wait_of(settings, CommandKind.CUT_OVER, options["wait"]),
            expected_revision=term.number,
            force=options["force"],
            evidence=evidence_of(findings, found.survey.comparison),
        )
    return verdict_on(settings, request, as_json=options["as_json"])


def _watch(target: Target, begun: Begun, deadline_s: float) -> HandoverReport:
    settings = target.settings
    with Refusals(settings, f"term {begun.term} has begun, but the hand-over cannot be followed: "), bars() as bar:
        return asyncio.run(
            watch_handover(settings, begun, deadline_s, lambda done, total: bar("partitions", done, total))
        )
