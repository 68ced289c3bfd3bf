"""The demo's last step: the verdict on its second model, as a page for a risk committee.

The challenger was in the shadow for a minute of simulated days, so the verdict is HOLD, for lack of matured labels: an
example of how such a page looks, and of what it refuses to say too early.
"""

import asyncio
from pathlib import Path
from typing import NamedTuple

from rich.markup import escape

from stream.demo.presenter import Presenter
from stream.settings import Settings
from stream.verdict.page import verdict_page
from stream.verdict.reader import VerdictScope, read_verdict
from stream.verdict.report import judge_challenger
from stream.verdict.terms import VerdictOptions


class ShownVerdict(NamedTuple):
    """What a verdict said of which model, by which gate, and the file of its page."""

    word: str
    gate: str
    model: str
    page: Path


def write_verdict(settings: Settings, model: tuple[str, str], page: Path, presenter: Presenter) -> ShownVerdict:
    """Judge a challenger by the topics, as `fraudstream shadow verdict` does, and write the page.

    Args:
        settings: of the demo's deployment.
        model: the digest of the challenger, and what the demo calls it.
        page: the file; it is replaced if it exists.
        presenter: shows the step.

    Raises:
        ReportError: it was never in the shadow.
        MissingMatplotlibError: matplotlib is not installed.
        OSError: the file cannot be written.
        aiokafka.errors.KafkaError: the broker does not answer.
    """
    digest, name = model
    with presenter.step(f"write the verdict on {name} to {page}") as step:
        found = judge_challenger(asyncio.run(read_verdict(settings, VerdictScope(digest))), VerdictOptions())
        page.write_text(verdict_page(found), encoding="utf-8")
        step.result = f"{found.verdict.value}, decided by the gate {found.gate.value}"
    return ShownVerdict(found.verdict.value, found.gate.value, name, page)


def verdict_text(shown: ShownVerdict) -> str:
    """Return the last line of the demo's report."""
    return (
        f"[bold]verdict[/] on {shown.model}, as `fraudstream shadow verdict` gives it: {shown.word}, decided by the "
        f"gate {shown.gate}; the page is {escape(str(shown.page))}"
    )
