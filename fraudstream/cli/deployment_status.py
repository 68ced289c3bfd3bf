"""`fraudstream deployment status`: who publishes, who is silent, how they differ, and whether one may take over."""

from collections.abc import Mapping
from typing import Any

import msgspec

from fraudstream.cli.deployment_survey import Found, look
from fraudstream.cli.output import say
from fraudstream.console import terminal
from fraudstream.ops.report.terminal import on_terminal
from fraudstream.ops.rollout.deployments.sections import state_deployments
from stream.clock import now_ms

_NOT_ASKED = {"deployment": None, "way_back": None, "gates": None, "go": None}


def print_status(name: str | None, options: Mapping[str, Any]) -> None:
    """Print what was found; exit with 1 if it cannot be read, with 0 whether go or no-go."""
    found = look(name, options, always_compare=True)
    stated = state_deployments(found.survey, found.findings, now_ms())
    if options["as_json"]:
        say(True, facts(found) | stated.facts(), "")  # noqa: FBT003 - the flag itself
    else:
        terminal().print(on_terminal(stated, has_page=False))


def facts(found: Found) -> dict[str, Any]:
    """Return what was found as plain JSON; `go` is null where no deployment was asked for that may take over."""
    survey, findings = found.survey, found.findings
    term = survey.publishers.term
    return {
        "term": term.number,
        "publisher": term.publisher,
        "earlier": list(term.earlier),
        "deployments": [one.facts() for one in survey.states],
        "settings_differ": survey.settings_differing,
        "settings_unknown": list(survey.settings_unknown),
        "comparison": None if survey.comparison is None else msgspec.to_builtins(survey.comparison),
        **(_NOT_ASKED if findings is None else findings.facts()),
    }
