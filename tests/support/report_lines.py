"""Lines that tests report besides their results: which Kafka they ran on, and their figures, shown once at the end.

Under pytest-xdist each worker process sends its lines to the controller, which shows all of them.
"""

from typing import Any, Protocol

import pytest

CLUSTERS = pytest.StashKey[list[str]]()
FIGURES = pytest.StashKey[list[str]]()
SENT = "fraudstream"
"""The key of our lines in the output that a worker process sends at its end."""


class Node(Protocol):
    """The attributes that are read from a worker process that has ended."""

    config: pytest.Config
    workeroutput: dict[str, Any]


def lines_of(config: pytest.Config, key: pytest.StashKey[list[str]]) -> list[str]:
    """Return the list of the lines of this kind."""
    return config.stash.setdefault(key, [])


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Send the lines of a worker process to the controller."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output[SENT] = [lines_of(session.config, CLUSTERS), lines_of(session.config, FIGURES)]


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Node) -> None:
    """Take the lines of a worker process that has ended; one that was killed has sent none."""
    clusters, figures = getattr(node, "workeroutput", {}).get(SENT, ([], []))
    lines_of(node.config, CLUSTERS).extend(clusters)
    lines_of(node.config, FIGURES).extend(figures)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Show which Kafka the integration tests ran on, and the figures that they reported."""
    for line in (*dict.fromkeys(lines_of(config, CLUSTERS)), *lines_of(config, FIGURES)):
        terminalreporter.write_line(line)
