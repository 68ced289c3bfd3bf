"""`fraudstream deployment status`: who publishes, who is silent, how they differ, and whether one may take over."""

from collections.abc import Mapping
from typing import Any

import msgspec
from rich.console import RenderableType
from rich.text import Text

from fraudstream.cli.deployment_survey import Found, look
from fraudstream.cli.deployment_tables import comparison, gates, print_plain, settings_lines, states
from fraudstream.cli.output import say

_NOT_ASKED = {"deployment": None, "way_back": None, "gates": None, "go": None}


def print_status(name: str | None, options: Mapping[str, Any]) -> None:
    """Print what was found; exit with 1 if it cannot be read, with 0 whether go or no-go."""
    found = look(name, options, always_compare=True)
    if options["as_json"]:
        say(True, facts(found), "")  # noqa: FBT003 - the flag itself
        return
    parts: list[RenderableType] = [states(found.survey.states), *map(Text, settings_lines(found.survey))]
    if found.survey.comparison is not None:
        parts += [Text(), comparison(found.survey.comparison)]
    if found.findings is not None:
        parts += [Text(), gates(found.findings)]
    print_plain(*parts)


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
