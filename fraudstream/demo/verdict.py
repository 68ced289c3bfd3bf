"""The demo's last step: the verdict on its second model, as a page for a risk committee.

The challenger was in the shadow for a few simulated days, of which no label has matured, so the verdict is HOLD: an
example of how such a page looks, and of what it refuses to say too early.
"""

import asyncio
from pathlib import Path

from rich.markup import escape

from fraudstream.demo.presenter import Presenter
from fraudstream.ops.rollout.verdict.page import state_verdict
from fraudstream.ops.rollout.verdict.reader import VerdictScope, read_verdict
from fraudstream.ops.rollout.verdict.report import judge_challenger
from fraudstream.ops.rollout.verdict.terms import VerdictOptions
from stream.settings import Settings


def write_verdict(settings: Settings, model: tuple[str, str], page: Path, presenter: Presenter) -> str:
    """Judge a challenger by the topics, as `fraudstream shadow verdict` does, and write the page.

    Args:
        settings: of the demo's deployment.
        model: the digest of the challenger, and what the demo calls it.
        page: the file; it is replaced if it exists.
        presenter: shows the step.

    Returns:
        the last line of the demo's report, as rich's markup.

    Raises:
        ReportError: it was never in the shadow.
        MissingMatplotlibError: matplotlib is not installed.
        OSError: the file cannot be written.
        aiokafka.errors.KafkaError: the broker does not answer.
    """
    digest, name = model
    with presenter.step(f"write the verdict on {name} to {page}") as step:
        found = judge_challenger(asyncio.run(read_verdict(settings, VerdictScope(digest))), VerdictOptions())
        page.write_text(state_verdict(found).html(), encoding="utf-8")
        step.result = f"{found.verdict.value}, decided by the gate {found.gate.value}"
    return (
        f"[bold]verdict[/] on {name}, as `fraudstream shadow verdict` gives it: {step.result}; the page is "
        f"{escape(str(page))}"
    )
