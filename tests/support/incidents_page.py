"""The table of docs/how-to/hear-of-incidents.md: what each rule of incidents says, with the bounds of the rules."""

from collections.abc import Callable, Iterable

from features.declaration import MINUTE_MS
from fraudstream.ops.watch.fields.judgement import LEAST_SHARE, SPANS_MS
from fraudstream.ops.watch.fields.telling import LONGEST_DAYS
from fraudstream.ops.watch.incidents import rules
from fraudstream.ops.watch.incidents.rules import RULES
from fraudstream_client.incidents import IncidentRule, Severity
from stream.scoring.encode import UNDECIDABLE
from stream.scoring.score import LIVE_MODEL_FAILED

Table = Callable[[tuple[str, ...], Iterable[tuple[str, ...]]], str]


def _time(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    if rest:
        return f"{seconds} s"
    return "a minute" if minutes == 1 else f"{minutes} min"


def _quiet(rule: IncidentRule) -> str:
    return _time(RULES[rule].quiet_s)


def _late(share: float, window_s: int, for_s: int) -> str:
    return f"over {share:.0%} of the decisions of {_time(window_s)} are late, for {_time(for_s)}".replace("%", " %")


OPENS_AND_IS_OVER = {
    IncidentRule.NO_WORKER: (
        f"a payment has waited for {_time(rules.WAITING_SECONDS)} in a partition that decided nothing meanwhile",
        f"none such for {_quiet(IncidentRule.NO_WORKER)}",
    ),
    IncidentRule.STAND_INS: (
        f"the live model gave no score for a payment (`degraded`: `{LIVE_MODEL_FAILED}`, `{UNDECIDABLE}`)",
        f"none such for {_quiet(IncidentRule.STAND_INS)}",
    ),
    IncidentRule.HISTORY_INCOMPLETE: (
        "a payment was decided without complete histories, or histories were lost",
        f"none such for {_quiet(IncidentRule.HISTORY_INCOMPLETE)}",
    ),
    IncidentRule.CAP_REACHED: (
        (
            "the [cap on declines](limit-declines.md) has overruled for "
            f"{_time(RULES[IncidentRule.CAP_REACHED].opens_after_s)}"
        ),
        f"it has not for {_quiet(IncidentRule.CAP_REACHED)}",
    ),
    IncidentRule.DEADLINES_MISSED: (
        (
            f"{_late(rules.MISSED_SHARE, rules.MISSED_WINDOW_SECONDS, rules.MISSED_FOR_SECONDS)}; or "
            f"{_late(rules.MANY_SHARE, rules.MANY_WINDOW_SECONDS, rules.MANY_FOR_SECONDS)}"
        ),
        f"neither for {_quiet(IncidentRule.DEADLINES_MISSED)}",
    ),
    IncidentRule.PARTITION_HALTED: (
        f"{rules.HALTING_RUN:,} records of a partition in a row were refused",
        f"it has gone on for {_quiet(IncidentRule.PARTITION_HALTED)}",
    ),
    IncidentRule.DEAD_LETTERS: (
        (
            f"more than {rules.BURST_RECORDS} records of one topic were refused with one code within "
            f"{_time(rules.BURST_SECONDS)}"
        ),
        f"not more for {_quiet(IncidentRule.DEAD_LETTERS)}",
    ),
    IncidentRule.GUARD_BREACH: (
        "a guard's command that answers a breach was accepted",
        f"the new model has decided nothing for {_quiet(IncidentRule.GUARD_BREACH)}, and no rollout is paused for it",
    ),
    IncidentRule.LOSS_ACCEPTED: (
        "[`topics accept-loss` or `dead-letters skip`](accept-a-loss.md) was accepted",
        "at once",
    ),
    IncidentRule.DRIFT: (
        (
            "what a live model sees or says has [moved from its reference](watch-a-live-model.md), for three "
            "windows of days in a row"
        ),
        "three windows without it, or the model decides no more",
    ),
    IncidentRule.LABELS_MISSING: (
        (
            "labels, or those of one reporter or kind of fraud, are [at most half](watch-a-live-model.md#labels) of "
            "what the weeks before let expect, for two days"
        ),
        "two days without it, or four weeks",
    ),
    IncidentRule.FIELD_STOPPED: (
        (
            "an [optional field or a declared attribute](add-fields.md#hear-of-fields-that-stop) that "
            f"{LEAST_SHARE:.0%} of the payments had, or more, has come in nearly none for "
            f"{SPANS_MS[0] // MINUTE_MS} min"
        ).replace("%", " %"),
        f"it comes again, or {LONGEST_DAYS} days",
    ),
    IncidentRule.FIELD_BEGUN: (
        f"one that nearly none of the payments of a day had comes in {LEAST_SHARE:.0%} or more".replace("%", " %"),
        "as soon as it is part of the day before, or stops",
    ),
}


def incidents(table: Table) -> str:
    """Write a row for each rule."""
    rows = []
    for rule, terms in RULES.items():
        opens, is_over = OPENS_AND_IS_OVER[rule]
        rises = f"; {Severity.PAGE}" if rule is IncidentRule.DEADLINES_MISSED else ""
        rows.append((f"`{rule}`", opens, is_over, f"{terms.severity}{rises}", ", ".join(terms.receivers)))
    return table(("rule", "it opens", "it is over", "severity", "receivers"), rows)
