"""A verdict in short, for the evidence of the command that promotes its challenger."""

from typing import Any

import msgspec

from fraudstream.ops.rollout.verdict.report import VerdictReport
from models.promotion_rules import VERDICT
from stream.readers import UNREADABLE

_LONGEST_TEXT = 300


def evidence_of_verdict(report: VerdictReport) -> dict[str, Any]:
    """Return the evidence: what the judge reads, the gates, and the main figures, in minor units; some 4 kB."""
    matured, loss = report.matured, report.loss
    figures = {
        "currency": report.terms.currency,
        "alpha": report.terms.alpha,
        "cards": loss.final,
        "saved_a_card_minor": [loss.low_minor, loss.high_minor],
        "payments": matured.payments,
        "frauds": matured.frauds,
        "live_loss_minor": matured.live.loss_minor,
        "challenger_loss_minor": matured.challenger.loss_minor,
    }
    short = {
        "verdict": report.verdict.value,
        "gate": report.gate.value,
        "challenger": report.challenger,
        "live": report.live_now,
        "revision": report.revision,
        "at": report.at,
        "since": report.stretch.since,
        "as_of": report.stretch.as_of,
        "gates": {
            one.gate.value: {"passed": one.passed, "found": one.found[:_LONGEST_TEXT], "required": one.required}
            for one in report.gates
        },
        "figures": figures,
    }
    return {VERDICT: short}


def read_report(value: bytes) -> VerdictReport:
    """Read what `fraudstream shadow verdict --json` wrote.

    Raises:
        ValueError: it is no verdict; the message says why.
    """
    try:
        return msgspec.json.decode(value, type=VerdictReport)
    except UNREADABLE as error:
        raise ValueError(f"it is not what `fraudstream shadow verdict --json` writes: {error}") from error
