"""What to read after the demo, and how to go on. A test holds that every page is there."""

from __future__ import annotations

from typing import NamedTuple


class Page(NamedTuple):
    """A page of the repository, its section if one is meant, and why one would read it."""

    path: str
    section: str
    why: str


PAGES = (
    Page("README.md", "With your own Kafka and Redis", "the same, on your own Kafka and Redis"),
    Page("README.md", "Which score counts", "how any consumer tells which decision counts"),
    Page("docs/architecture.md", "", "how it works, batch by batch, and where faults go"),
    Page("docs/models.md", "", "commands, verdicts, and how a model becomes live"),
    Page("docs/shadow.md", "", "what the shadow promises, and how its report is read"),
    Page("docs/telemetry.md", "", "traces, metrics, and when to look at which"),
    Page("deploy/README.md", "", "the same with Apache Kafka, Jaeger and Prometheus, in containers"),
)
GO_ON = (
    ("fraudstream demo --chaos", "kills the worker in the middle"),
    ("fraudstream demo --keep", "leaves it running at the end, for your own hands"),
)


def reading_list() -> list[tuple[str, str]]:
    """Return where to read on, and why."""
    return [(f"{page.path}{page.section and f', {page.section!r}'}", page.why) for page in PAGES]
