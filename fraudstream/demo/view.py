"""The state of a run at one moment, as it is shown and summarised, and how its values are formatted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fraudstream.demo.blue_green import BlueGreen
from fraudstream.demo.canary import CanaryFacts
from fraudstream.demo.commands import CommandLog
from fraudstream.demo.comparisons import Amount, RevisionComparison, RevisionComparisons
from fraudstream.demo.plan import ScheduledAction
from fraudstream.demo.scoreboard import FIRST_TERM, Outage, Percentiles, Scoreboard, TermRevision, TruthTally
from fraudstream.demo.script import SHORT, Act
from fraudstream.demo.shell import CommandRun, typed
from guards.report import likelihood_text
from guards.shares import share_text
from models.commands import CommandKind

QUIET = Percentiles(7, 11)
"""What one worker shows at 100 payments a second, in milliseconds, where nothing but the load runs beside it."""
QUIET_COMMAND = "fraudstream bench load --model DIGEST --rate 100 --seconds 15"
QUIET_PAGE = "docs/reference/performance.md, 'Load past the limit'"


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """One moment. Times in epoch milliseconds, `simulated_at` in the time of the simulated cards."""

    board: Scoreboard
    comparisons: RevisionComparisons
    commands: CommandLog
    outage: Outage | None
    models: Mapping[str, str]
    """The name of each model, by digest."""
    partitions: int
    done: int
    total: int
    """How many live transactions have been sent, and how many are planned."""
    began_ms: int
    """When the live stream began."""
    now_ms: int
    simulated_at: str
    labels: int
    void: int
    planned: tuple[ScheduledAction, ...] = ()
    """What has not happened yet."""
    begun: tuple[Act, ...] = ()
    """The acts that have begun, the present one last."""
    runs: tuple[CommandRun, ...] = ()
    """The commands of the acts that were run."""
    canary: CanaryFacts | None = None
    """What the bad model did as a canary; None before it begins."""
    has_canary: bool = False
    """Whether the run has that act at all."""
    blue_green: BlueGreen | None = None
    """How far the act with a second fleet is; None in a run without it."""

    def model(self, digest: str | None) -> str:
        """Return the name of a model."""
        return "no model" if digest is None else self.models.get(digest, digest[:SHORT])

    def command(self, kind: CommandKind | None, digest: str | None) -> str:
        """Return what was typed for a command to the workers; empty for those of the guard."""
        acts = [act for act in self.begun if act.kind and act.kind is kind and act.model in (None, digest)]
        return typed(acts[-1].commands[-1]) if acts else ""

    def decided(self, compared: RevisionComparison) -> int:
        """Return how many live transactions the revision has decided; challengers are there in the first term alone."""
        return self.board.tallies.get(TermRevision(FIRST_TERM, compared.revision), TruthTally()).decided

    def coverage(self, compared: RevisionComparison) -> float | None:
        """Return the share of the revision's live decisions that have been compared; None without decisions."""
        decided = self.decided(compared)
        return min(1.0, compared.tally.compared / decided) if decided else None


def share(part: float | None, digits: int = 0) -> str:
    """Format a share as a percentage; only a whole one is rounded to 100%."""
    if part is None:
        return "-"
    if part == 1:
        return "100%"
    text = f"{part:.{digits}%}"
    return f">{1 - 10.0 ** -(digits + 2):.{digits}%}" if text.startswith("100") else text


def delay(delays: Percentiles | None) -> str:
    """Format a median and a 99th percentile."""
    return "-" if delays is None else f"p50 {delays.p50:.0f} p99 {delays.p99:.0f} ms"


def seconds(milliseconds: int | None) -> str:
    """Format a duration in milliseconds, or in seconds from one second on."""
    if milliseconds is None:
        return "-"
    return f"{milliseconds} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"  # noqa: PLR2004 - one second


def payments(count: int) -> str:
    """Format a number of payments."""
    return f"{count:,} payment{'' if count == 1 else 's'}"


def amount(total: Amount) -> str:
    """Format a number of transactions and their amount in euro."""
    return f"{total.events:,}, € {total.euro:,.0f}" if total.events else "none"


def arms_text(canary: CanaryFacts) -> str:
    """Return whose the first declines are, the evidence and, once it has ended, how soon that was."""
    own, live = canary.first_declines
    found = (
        f"{own:,} of {own + live:,} first declines by {share_text(canary.share_bp)} of the cards: "
        f"{likelihood_text(canary.evidence)} (it is ended at {canary.bound:,.0f} times)"
    )
    after_ms = canary.after_breach_ms
    return found if after_ms is None else f"{found}; it decided last {seconds(max(after_ms, 0))} after the breach"
