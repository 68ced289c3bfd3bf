"""Lays out the states of deployments, their comparison, the gates and a hand-over as tables."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fraudstream.console import terminal
from fraudstream.ops.report.parts import NO, YES
from fraudstream.ops.rollout.deployments.comparison import Comparison, DecisionTimes
from fraudstream.ops.rollout.deployments.gates import GoNoGo
from fraudstream.ops.rollout.deployments.handover import HandoverReport, PartitionHandover
from fraudstream.ops.rollout.deployments.state import DeploymentState, GroupSource
from fraudstream.ops.rollout.deployments.survey import Survey
from models.times import format_time
from stream.printing import printable

_MOST_WORKERS = 5
_SHORT = 12
_LEAST_WIDTH = 80
"""On a narrower terminal lines are broken by it; a table made for it would break words."""


def print_plain(*parts: RenderableType) -> None:
    """Print what was laid out; a name may look like markup, or like an emoji's."""
    console = terminal()
    console.width = max(console.width, _LEAST_WIDTH)
    console.print(Group(*parts))


def _table(*columns: str, right: Iterable[str] = ()) -> Table:
    table = Table(header_style="bold", box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


def states(found: Sequence[DeploymentState]) -> Table:
    """Lay out deployments side by side."""
    columns = [dict(_lines(one)) for one in found]
    table = _table("", *(one.deployment for one in found))
    for name in columns[0]:
        table.add_row(name, *(printable(column[name]) for column in columns))
    return table


def _lines(state: DeploymentState) -> Iterator[tuple[str, str]]:
    faults, lag = state.faults, state.lag
    yield "role", f"publishes in term {state.term}" if state.publishes else "silent"
    yield "since", "never published" if state.since_ms is None else format_time(state.since_ms)
    guess = " (a guess: no worker has written it; --group names another)"
    yield "group", state.group + (guess if state.group_source is GroupSource.GUESS else "")
    yield "workers", f"{len(state.workers)}: {_few(state.workers)}" if state.workers else "none"
    hashes = Counter(one.settings for one in state.running.values())
    yield "settings", ", ".join(f"{name} ({count})" for name, count in sorted(hashes.items())) or "not on record"
    yield "code", ", ".join(f"{version} ({count:,})" for version, count in state.versions.items()) or "no decisions"
    yield "last decision", format_time(state.decided_ms) if state.decided_ms else "none"
    live = state.live
    yield "live model", "none" if live is None else " ".join(filter(None, (*live[1:], live.digest[:_SHORT])))
    yield "revision", str(state.revision)
    yield "lag", f"{lag.lag:,} records"
    yield "behind published", "" if state.publishes else f"{lag.behind:,} records"
    yield "histories", "unknown: " + state.histories.found if state.histories.whole is None else state.histories.found
    yield f"faults since {format_time(faults.since_ms)[11:16]}", f"{faults.faulty:,} of {faults.decisions:,} decisions"
    yield "  of these", ", ".join(f"{kind} {count:,}" for kind, count in faults.kinds.items())
    yield "dead letters", f"{faults.letters:,}, {faults.own_letters:,} of its own"


def settings_lines(found: Survey) -> Iterator[str]:
    """Yield the settings that decide and in which workers differ, with the values and who has them."""
    if found.settings_differing:
        yield ""
        yield "settings that decide differ:"
        for setting, holders in found.settings_differing.items():
            values = (f"{printable(value) or 'empty'} ({_few(workers)})" for value, workers in holders.items())
            yield f"  {setting}: {'; '.join(values)}"
    if found.settings_unknown:
        yield f"settings are not on record, as of versions that did not write them: {_few(found.settings_unknown)}"


def _few(names: Sequence[str]) -> str:
    more = len(names) - _MOST_WORKERS
    return ", ".join((*map(printable, names[:_MOST_WORKERS]), *([f"and {more} more"] if more > 0 else ())))


def comparison(found: Comparison) -> RenderableType:
    """Lay out how decisions differ."""
    table = _table("", "events", "share", "amounts, in minor units", right=("events", "share"))
    total = found.compared + found.only_published + found.only_silent
    table.add_row("compared", f"{found.compared:,}", _share(found.compared, total), _money(found.amounts))
    changed = _money(found.changed_amounts)
    table.add_row("decided differently", f"{found.changed:,}", _share(found.changed, found.compared), changed)
    for one in found.changes:
        share = _share(one.events, found.compared)
        table.add_row(f"  {one.before} -> {one.after}", f"{one.events:,}", share, _money(one.amounts))
    table.add_row(
        f"only {printable(found.published)}", f"{found.only_published:,}", _share(found.only_published, total)
    )
    table.add_row(f"only {printable(found.silent)}", f"{found.only_silent:,}", _share(found.only_silent, total))
    head = f"{found.published} (publishes) and {found.silent} (silent), {found.since} to {found.until}"
    parts: list[RenderableType] = [Text(printable(head), style="bold"), table, *map(Text, _shift(found))]
    if found.passed_over:
        parts.append(Text(f"{found.passed_over:,} older decisions of the time were not compared: there are too many"))
    return Group(*parts)


def _shift(found: Comparison) -> Iterator[str]:
    scores = found.scores
    if scores.mean is not None:
        yield (
            f"scores: {scores.mean:+.6f} on average, {scores.mean_absolute:.6f} in absolute value, at most "
            f"{scores.largest:.6f}; population stability index {scores.stability_index:.4f}"
        )
    yield f"latency: {_times(found.latency_published)} published, {_times(found.latency_silent)} silent"


def _times(times: DecisionTimes) -> str:
    return "unknown" if times.p50 is None else f"p50 {times.p50:,.0f} ms, p99 {times.p99:,.0f} ms"


def _share(count: int, total: int) -> str:
    return f"{count / total:.2%}" if total else ""


def _money(amounts: Mapping[str, int]) -> str:
    """Return sums in minor units, as the records have them: their number of decimals differs by currency."""
    return ", ".join(f"{currency} {amount:,}" for currency, amount in sorted(amounts.items()))


def gates(findings: GoNoGo) -> RenderableType:
    """Lay out the gates, what to do about those that are not passed, and go or no-go in the last line."""
    table = _table("gate", "", "found", "required")
    for one in findings.gates:
        style = None if one.passed else "bold red"
        table.add_row(one.gate, YES if one.passed else NO, printable(one.found), one.required, style=style)
    advice = [Text(f"{one.gate}: {one.advice}") for one in findings.gates if not one.passed]
    return Group(table, *advice, Text(last_line(findings), style="bold"))


def last_line(findings: GoNoGo) -> str:
    """Return go or no-go, with what to run or the gates that say no."""
    way_back = " (the way back)" if findings.way_back else ""
    if findings.go:
        return f"go{way_back}: fraudstream deployment cut-over {findings.deployment}"
    refusing = ", ".join(one.gate for one in findings.gates if not one.passed)
    return f"no-go{way_back}: {findings.deployment} may not publish: {refusing}"


def handover(report: HandoverReport) -> RenderableType:
    """Lay out a hand-over, partition by partition."""
    numbers = ("partition", "first offset", "pause", "first waited", "decisions", "void")
    table = _table(*numbers, "", right=numbers)
    for one in report.partitions:
        table.add_row(*_partition(one))
    head = (
        f"{report.deployment} publishes in term {report.term} since {report.accepted_at}, in place of {report.before}"
    )
    return Group(Text(printable(head), style="bold"), table, *map(Text, _outcome(report)))


def _partition(one: PartitionHandover) -> tuple[str, ...]:
    if one.first_offset is None:
        waits = f"{one.undecided:,} payments wait" if one.undecided else "no payment since"
        return str(one.partition), "", "", "", "0", f"{one.void:,}", waits
    differs = one.announced not in (None, one.first_offset)
    return (
        str(one.partition),
        str(one.first_offset),
        "" if one.pause_ms is None else f"{one.pause_ms / 1000:.3f} s",
        f"{one.first_latency_ms:,} ms",
        f"{one.decisions:,}",
        f"{one.void:,}",
        f"its handover event says {one.announced}" if differs else "",
    )


def _outcome(report: HandoverReport) -> Iterator[str]:
    if report.longest_pause_ms is not None:
        yield f"longest pause {report.longest_pause_ms / 1000:.3f} s, from the last decision before to the first after"
    if report.later_term is not None:
        yield f"term {report.later_term} has begun meanwhile: `fraudstream deployment status` says who publishes"
    if not report.done:
        waiting = [one.partition for one in report.partitions if one.first_offset is None and one.undecided]
        workers = f"{report.workers} workers are in its group; the /health/ready of each says why it does not decide"
        why = workers if report.workers else "no worker is in its group"
        yield f"{report.deployment} does not go on in partitions {', '.join(map(str, waiting))}: {why}"
        yield "no payment is lost or decided twice: they wait until it goes on, or until the way back"
    yield f"the way back: fraudstream deployment cut-over {report.before}"
