"""`fraudstream topics audit`: checks that each offset of `transactions` has one verdict."""

import asyncio
from collections.abc import Iterator

import click
import msgspec

from fraudstream.cli.arguments import MomentParam
from fraudstream.cli.output import json_option, say
from fraudstream.cli.progress import bars
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.settings import settings_or_refuse
from fraudstream.ops.repair.audit import AuditReport, audit


@click.command("audit")
@click.option("--since", "since_ms", type=MomentParam(), default=0, help="Only records with a timestamp from it on.")
@click.option("--until", "until_ms", type=MomentParam(), help="Only records with a timestamp before it.")
@json_option
def topics_audit(*, since_ms: int, until_ms: int | None, as_json: bool) -> None:
    """Check that each offset of `transactions` has one verdict, and count the offsets of each kind.

    An offset is decided or refused, or neither since it repeats another, is a backfill's, holds no record, or was
    accepted as lost or skipped. Where that does not hold, the places are named, and the command ends with 1. So it does
    where Kafka has lost scores that it had acknowledged, and their payments were decided again. Those are counted that
    a worker or a commit had noted, if the score that tells of them has a timestamp in the range; later ones may be
    lost, too.
    """
    settings = settings_or_refuse()
    with Refusals(settings), bars() as progress:
        report = asyncio.run(audit(settings, max(0, since_ms), until_ms, progress))
    say(as_json, msgspec.to_builtins(report), "\n".join(_audit_lines(report)))
    if not report.clean:
        raise SystemExit(1)


def _audit_lines(report: AuditReport) -> Iterator[str]:
    """Yield what an audit has found, as text."""
    yield f"{report.topic}, log {report.log}"
    yield from (f"  {kind.replace('_', ' '):>12} {count:>12,}" for kind, count in report.offsets.items())
    void = f"{report.late_letters:,} late dead letters, {report.void_scores:,} void scores"
    earlier = f", {report.earlier_logs:,} decisions of earlier logs" if report.earlier_logs else ""
    yield f"beside these: {void}{earlier}"
    for fault, places in report.faults.items():
        shown = ", ".join(f"{one.partition}:{one.offset}" for one in places)
        more = report.fault_counts[fault] - len(places)
        yield f"{fault.replace('_', ' ')}: {shown}{f' and {more:,} more' if more else ''}"
    if report.lost_scores:
        lost = f"Kafka lost up to {report.lost_scores:,} acknowledged scores that a worker or a commit had noted"
        yield f"{lost}, and perhaps later ones: their payments were decided again"
    broken = any(report.faults.values())
    yield "the rule is broken at these places (partition:offset)" if broken else "each offset has one verdict"
