"""The states of deployments, their comparison, the gates and a hand-over, as headlines and sections of a report."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from fraudstream.ops.report.document import Headline, Provenance, Report, Section, Tone
from fraudstream.ops.report.parts import Cell, Folded, Note, Part
from fraudstream.ops.report.quantities import Count, Measure, Moment, Money, Percentage, by_money, quantity_text
from fraudstream.ops.report.tables import DataTable
from fraudstream.ops.rollout.deployments.comparison import Comparison, DecisionTimes
from fraudstream.ops.rollout.deployments.gates import GoNoGo
from fraudstream.ops.rollout.deployments.handover import HandoverReport, PartitionHandover
from fraudstream.ops.rollout.deployments.state import DeploymentState, GroupSource
from fraudstream.ops.rollout.deployments.survey import Survey
from models.commands import SHORT_DIGEST
from models.times import stated_ms
from stream.code_version import code_version

_MOST_WORKERS = 5
_Row = tuple[Cell, ...]


def state_deployments(survey: Survey, findings: GoNoGo | None, made_ms: int) -> Report:
    """Return who publishes, who is silent and how they differ as a report; `findings` are of one that may take over."""
    found, names = survey.comparison, " and ".join(one.deployment for one in survey.states)
    start, end = (None, None) if found is None else (stated_ms(found.since), stated_ms(found.until))
    return Report(
        f"Deployments {names}" if len(survey.states) > 1 else f"Deployment {names}",
        _publishing(survey),
        _headline(survey) if findings is None else go_headline(findings),
        (
            *(() if findings is None else (gates_section(findings),)),
            Section("States", (_states(survey.states),)),
            Section("Settings that decide differ", (_settings(survey),)),
            Section("Settings that are not on record", (_unknown_settings(survey),)),
            Section("How decisions differ", () if found is None else tuple(_comparison(found))),
        ),
        Provenance(_measured(survey), start, end, made_ms, code_version()),
    )


def _measured(survey: Survey) -> str:
    compared = "" if survey.comparison is None else f", and {survey.comparison.compared:,} payments that both decided"
    return f"what the topics and consumer groups have now{compared}"


def _publishing(survey: Survey) -> str:
    term = survey.publishers.term
    return f"{term.publisher} publishes in term {term.number}"


def _headline(survey: Survey) -> Headline:
    publisher = next(one for one in survey.states if one.publishes)
    words, found = _publishing(survey), survey.comparison
    if not publisher.workers and publisher.group_source is not GroupSource.GUESS:
        return Headline(f"Nobody decides: {words}, and has no worker in group {publisher.group}", Tone.BAD)
    silent = " and ".join(one.deployment for one in survey.states if not one.publishes)
    words = f"{words}; silent: {silent}" if silent else words
    if found is None or not found.compared:
        return Headline(words, Tone.PLAIN)
    share = quantity_text(Percentage(found.changed / found.compared))
    differing = f"{found.changed:,} of {found.compared:,} payments are decided differently ({share})"
    return Headline(words, Tone.PLAIN, differing)


def _states(found: Sequence[DeploymentState]) -> DataTable:
    """Lay out deployments side by side; what none of them has is left out."""
    columns = [dict(_facts(one)) for one in found]
    rows = ((name, *(column[name] for column in columns)) for name in columns[0])
    return DataTable("Side by side", ("", *(one.deployment for one in found)), tuple(rows))


def _facts(state: DeploymentState) -> Iterator[tuple[str, str]]:
    faults, lag, live = state.faults, state.lag, state.live
    yield "Role", f"publishes in term {state.term}" if state.publishes else "silent"
    yield "Since", "never published" if state.since_ms is None else quantity_text(Moment(state.since_ms))
    guess = " (a guess: no worker has written it; --group names another)"
    yield "Group", state.group + (guess if state.group_source is GroupSource.GUESS else "")
    yield "Workers", f"{len(state.workers)}: {_few(state.workers)}" if state.workers else "none"
    hashes = Counter(one.settings for one in state.running.values())
    yield "Settings", ", ".join(f"{name} ({count})" for name, count in sorted(hashes.items())) or "not on record"
    yield "Code", ", ".join(f"{version} ({count:,})" for version, count in state.versions.items()) or "no decisions"
    yield "Last decision", quantity_text(Moment(state.decided_ms)) if state.decided_ms else "none"
    yield "Live model", "none" if live is None else " ".join(filter(None, (*live[1:], live.digest[:SHORT_DIGEST])))
    yield "Revision", str(state.revision)
    yield "Lag", f"{lag.lag:,} records"
    yield "Behind published", "" if state.publishes else f"{lag.behind:,} records"
    yield "Histories", "unknown: " + state.histories.found if state.histories.whole is None else state.histories.found
    since = quantity_text(Moment(faults.since_ms))[11:16]
    yield f"Faults since {since}", f"{faults.faulty:,} of {faults.decisions:,} decisions"
    yield "Of these", ", ".join(f"{kind} {count:,}" for kind, count in faults.kinds.items())
    yield "Dead letters", f"{faults.letters:,}, {faults.own_letters:,} of its own"


def _few(names: Sequence[str]) -> str:
    more = len(names) - _MOST_WORKERS
    return ", ".join((*names[:_MOST_WORKERS], *([f"and {more} more"] if more > 0 else ())))


def _settings(survey: Survey) -> DataTable:
    """List the settings that decide and in which workers differ, with the values and who has them."""
    rows = (
        (setting, value or "empty", _few(workers))
        for setting, holders in survey.settings_differing.items()
        for value, workers in holders.items()
    )
    return DataTable("Each value, and the workers that have it", ("Setting", "Value", "Workers"), tuple(rows))


def _unknown_settings(survey: Survey) -> Note:
    """Name the workers whose settings are not on record."""
    workers = survey.settings_unknown
    return Note(f"Workers of versions that did not write them: {_few(workers)}." if workers else "")


# --- how decisions differ


def _comparison(found: Comparison) -> Iterator[Part]:
    currency, *others = by_money({**found.changed_amounts, **found.amounts}) or ("",)
    total = found.compared + found.only_published + found.only_silent
    rows = (
        ("Compared", Count(found.compared), _share(found.compared, total), _money(found.amounts, currency)),
        *_changed_rows(found, currency),
        (f"Only {found.published}", Count(found.only_published), _share(found.only_published, total), ""),
        (f"Only {found.silent}", Count(found.only_silent), _share(found.only_silent, total), ""),
    )
    caption = f"{found.published} (publishes) and {found.silent} (silent)"
    note = f"Payments of all currencies; amounts in {currency} alone." if others else ""
    yield DataTable(caption, ("", "Payments", "Share", "Amount"), rows, note)
    yield Folded(f"Amounts in {', '.join(others)}", tuple(_other_money(found, other) for other in others))
    if found.passed_over:
        yield Note(f"{found.passed_over:,} older decisions of the time were not compared: there are too many.")
    yield _scores(found)
    times = ((found.published, found.latency_published), (found.silent, found.latency_silent))
    yield DataTable(
        "From payment to decision",
        ("", "Median", "99th percentile"),
        tuple((name, *_times(delays)) for name, delays in times),
    )


def _changed_rows(found: Comparison, currency: str) -> Iterator[_Row]:
    share, money = _share(found.changed, found.compared), _money(found.changed_amounts, currency)
    yield "Decided differently", Count(found.changed), share, money
    for one in found.changes:
        share = _share(one.events, found.compared)
        yield f"{one.before} to {one.after}", Count(one.events), share, _money(one.amounts, currency)


def _other_money(found: Comparison, currency: str) -> DataTable:
    rows = (
        ("Compared", found.amounts),
        ("Decided differently", found.changed_amounts),
        *((f"{one.before} to {one.after}", one.amounts) for one in found.changes),
    )
    shown = tuple((name, _money(amounts, currency)) for name, amounts in rows)
    return DataTable(f"Amounts in {currency}", ("", "Amount"), shown)


def _scores(found: Comparison) -> DataTable:
    scores = found.scores
    figures = {
        "Mean": scores.mean,
        "Mean of the absolute value": scores.mean_absolute,
        "Largest absolute value": scores.largest,
    }
    index = scores.stability_index
    return DataTable(
        "Scores, silent less published",
        ("", "Figure"),
        (
            *((name, None if value is None else Measure(value, 6)) for name, value in figures.items()),
            ("Population stability index", None if index is None else Measure(index, 4)),
        ),
    )


def _times(delays: DecisionTimes) -> _Row:
    return tuple(None if delay is None else Measure(delay, 0, "ms") for delay in (delays.p50, delays.p99))


def _share(count: int, total: int) -> Cell:
    return Percentage(count / total) if total else ""


def _money(amounts: Mapping[str, int], currency: str) -> Cell:
    return Money(amounts[currency], currency) if amounts.get(currency) else ""


# --- go or no-go, and the hand-over


def go_headline(findings: GoNoGo) -> Headline:
    """Return go or no-go, with what to run or the gates that say no."""
    way_back = " (the way back)" if findings.way_back else ""
    if findings.go:
        words = f"Go{way_back}: {findings.deployment} may publish"
        return Headline(words, Tone.GOOD, f"To hand over: fraudstream deployment cut-over {findings.deployment}")
    refusing = ", ".join(one.gate for one in findings.gates if not one.passed)
    return Headline(f"No-go{way_back}: {findings.deployment} may not publish: {refusing}", Tone.BAD)


def gates_section(findings: GoNoGo) -> Section:
    """Return the gates, and what to do about those that are not passed."""
    rows = tuple((one.gate, one.passed, one.found, one.required) for one in findings.gates)
    failed = tuple(f"{one.gate}: {one.advice}." for one in findings.gates if not one.passed)
    advice = Note("What to do about gates that are not passed:", failed) if failed else Note()
    return Section("Go or no-go", (DataTable("Gates", ("Gate", "Passed", "Found", "Asked for"), rows), advice))


def handover_section(report: HandoverReport) -> Section:
    """Return a hand-over, partition by partition, and what became of it."""
    since = quantity_text(Moment(stated_ms(report.accepted_at)))
    heads = ("Partition", "First offset", "Pause", "First waited", "Decisions", "Void", "")
    return Section(
        f"{report.deployment} publishes in term {report.term} since {since}, in place of {report.before}",
        (DataTable("Partitions", heads, tuple(map(_partition, report.partitions))), *map(Note, _outcome(report))),
    )


def _partition(one: PartitionHandover) -> _Row:
    if one.first_offset is None:
        waits = f"{one.undecided:,} payments wait" if one.undecided else "no payment since"
        return str(one.partition), "", "", "", Count(0), Count(one.void), waits
    differs = one.announced not in (None, one.first_offset)
    return (
        str(one.partition),
        str(one.first_offset),
        "" if one.pause_ms is None else Measure(one.pause_ms / 1000, 3, "s"),
        "" if one.first_latency_ms is None else Count(one.first_latency_ms, "ms"),
        Count(one.decisions),
        Count(one.void),
        f"its handover event says {one.announced}" if differs else "",
    )


def _outcome(report: HandoverReport) -> Iterator[str]:
    if report.longest_pause_ms is not None:
        pause = quantity_text(Measure(report.longest_pause_ms / 1000, 3, "s"))
        yield f"Longest pause {pause}, from the last decision before to the first after."
    if report.later_term is not None:
        yield f"Term {report.later_term} has begun meanwhile: `fraudstream deployment status` says who publishes."
    if not report.done:
        waiting = [one.partition for one in report.partitions if one.first_offset is None and one.undecided]
        workers = f"{report.workers} workers are in its group; the /health/ready of each says why it does not decide"
        why = workers if report.workers else "no worker is in its group"
        yield f"{report.deployment} does not go on in partitions {', '.join(map(str, waiting))}: {why}."
        yield "No payment is lost or decided twice: they wait until it goes on, or until the way back."
    yield f"The way back: fraudstream deployment cut-over {report.before}"
