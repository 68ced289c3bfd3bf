"""The alerts about the same facts as incidents: `prometheus/alerts.yml` has their conditions from here.

Bounds and severities are those of the incidents' rules. A fact that both see is told of by both at the same bound, and
a bound is changed in one place. To write the file anew: `python -m deploy.alerts`.
"""

import re
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from fraudstream.ops.watch.incidents import rules
from fraudstream.ops.watch.incidents.rules import RULES
from fraudstream_client.incidents import IncidentRule, Severity
from stream.scoring.encode import UNDECIDABLE
from stream.scoring.score import LIVE_MODEL_FAILED

FILE = Path(__file__).parent / "prometheus" / "alerts.yml"
_WORKERS = 'job=~"fraudstream.*", job!~".*-(guard|explain)"'
_ENDED = "end_canary|end_split|roll_back|pause"
_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


class AlertCondition(NamedTuple):
    """When an alert fires.

    Attributes:
        rule: the rule of incidents about the same fact.
        lines: the expression in PromQL, as it is broken into lines.
        lasts_s: for how long it must hold.
        severity: None for that with which an incident of the rule opens.
    """

    rule: IncidentRule
    lines: tuple[str, ...]
    lasts_s: int = 0
    severity: Severity | None = None

    def text(self) -> str:
        """Return the lines of the alert between its name and its annotations."""
        return "".join(f"        {line}\n" for line in self._fields_of_yaml())

    def _fields_of_yaml(self) -> Iterator[str]:
        if len(self.lines) == 1:
            yield f"expr: {self.lines[0]}"
        else:
            yield from ("expr: >-", *(f"  {line}" for line in self.lines))
        if self.lasts_s:
            yield f"for: {duration(self.lasts_s)}"
        yield f"labels: {{severity: {self.severity or RULES[self.rule].severity}}}"


def duration(seconds: int) -> str:
    """Return a time as Prometheus writes it, in the largest unit of which it is a multiple."""
    return next(f"{seconds // length}{unit}" for unit, length in _UNITS if seconds % length == 0)


def _new_events(counter: str, by: str, seconds: int, more_than: int) -> tuple[str, ...]:
    """Return that a counter rose, with all events of a new series; the head of `alerts.yml` says why."""
    window = duration(seconds)
    return (
        f"sum by ({by}) (({counter} unless",
        f"last_over_time({counter}[{window}] offset {window}))",
        f"or increase({counter}[{window}])) > {more_than}",
    )


def _late(share: float, seconds: int) -> tuple[str, ...]:
    """Return that more than a share of the decisions of so many seconds are late."""
    window = duration(seconds)
    return (
        f"sum by (job) (rate(fraudstream_deadline_misses_total[{window}]))",
        f"/ sum by (job) (rate(fraudstream_decisions_total[{window}])) > {share:g}",
    )


CONDITIONS: Mapping[str, AlertCondition] = MappingProxyType(
    {
        "NoWorkerAnswers": AlertCondition(
            IncidentRule.NO_WORKER,
            (
                'label_replace(absent(up{job="fraudstream"} == 1), "job", "fraudstream", "", "")',
                f"or (max by (job) (max_over_time(up{{{_WORKERS}}}[30m])) > 0",
                f"unless max by (job) (up{{{_WORKERS}}}) > 0)",
            ),
            lasts_s=30,
        ),
        "NoWorkerReady": AlertCondition(
            IncidentRule.NO_WORKER, ("max by (job) (fraudstream_ready) == 0",), lasts_s=rules.WAITING_SECONDS
        ),
        "PartitionSetAside": AlertCondition(
            IncidentRule.NO_WORKER, ("max_over_time(fraudstream_aside[1m]) > 0",), lasts_s=120
        ),
        "LiveModelFails": AlertCondition(
            IncidentRule.STAND_INS,
            (
                'sum by (job, decided_by) (rate(fraudstream_decisions_total{decided_by!="model"}[2m])) > 0',
                f'and on (job) sum by (job) (rate(fraudstream_degraded_total{{reason="{LIVE_MODEL_FAILED}"}}[2m])) > 0',
            ),
            lasts_s=30,
        ),
        "Undecidable": AlertCondition(
            IncidentRule.STAND_INS,
            (f'sum by (job) (increase(fraudstream_degraded_total{{reason="{UNDECIDABLE}"}}[5m])) > 0',),
        ),
        "HistoryIncomplete": AlertCondition(
            IncidentRule.HISTORY_INCOMPLETE, ("max by (job) (fraudstream_history_incomplete) > 0",)
        ),
        "RepairStandsStill": AlertCondition(
            IncidentRule.HISTORY_INCOMPLETE,
            (
                "max by (job) (fraudstream_history_incomplete) > 0",
                "unless sum by (job) (increase(fraudstream_history_reapplied_total[5m])) > 0",
            ),
            lasts_s=300,
        ),
        "DeclineCapHolds": AlertCondition(
            IncidentRule.CAP_REACHED,
            ("sum by (job, arm) (fraudstream_decline_cap_active) > 0",),
            lasts_s=RULES[IncidentRule.CAP_REACHED].opens_after_s,
        ),
        "DeadlineMissed": AlertCondition(
            IncidentRule.DEADLINES_MISSED,
            _late(rules.MISSED_SHARE, rules.MISSED_WINDOW_SECONDS),
            lasts_s=rules.MISSED_FOR_SECONDS,
        ),
        "DeadlineMissedByMany": AlertCondition(
            IncidentRule.DEADLINES_MISSED,
            _late(rules.MANY_SHARE, rules.MANY_WINDOW_SECONDS),
            lasts_s=rules.MANY_FOR_SECONDS,
            severity=Severity.PAGE,  # an incident rises to it by the same bound
        ),
        "PartitionHalted": AlertCondition(IncidentRule.PARTITION_HALTED, ("fraudstream_halted > 0",)),
        "DeadLetters": AlertCondition(
            IncidentRule.DEAD_LETTERS,
            _new_events("fraudstream_dead_letters_total", "job, topic, code", rules.BURST_SECONDS, rules.BURST_RECORDS),
            lasts_s=RULES[IncidentRule.DEAD_LETTERS].opens_after_s,
        ),
        "GuardBreached": AlertCondition(
            IncidentRule.GUARD_BREACH,
            (
                "max by (job, guard) (fraudstream_guard_evidence_ratio) >= 1",
                "or sum by (job, command)",
                f'(increase(fraudstream_guard_commands_total{{command=~"{_ENDED}", outcome="accepted"}}[10m]))',
                "> 0",
            ),
        ),
        "InputLost": AlertCondition(
            IncidentRule.LOSS_ACCEPTED,
            _new_events("fraudstream_lost_unread_total", "job, topic", 600, 0),
            severity=Severity.PAGE,  # somebody must look at the loss; the incident tells that it was accepted
        ),
        "ModelDrifted": AlertCondition(
            IncidentRule.DRIFT, ("max by (job, model, arm) (fraudstream_drift_alarm) == 1",)
        ),
        "LabelsMissing": AlertCondition(
            IncidentRule.LABELS_MISSING, ("max by (job) (fraudstream_labels_missing) == 1",)
        ),
        "FieldStopped": AlertCondition(
            IncidentRule.FIELD_STOPPED, ("max by (job, field) (fraudstream_field_stopped) == 1",)
        ),
        "FieldBegun": AlertCondition(IncidentRule.FIELD_BEGUN, ("max by (job, field) (fraudstream_field_begun) == 1",)),
    }
)
"""By the alert's name."""


def _replaced(condition: AlertCondition, found: re.Match[str]) -> str:
    comment: str = found[1]
    return comment + condition.text()


def with_conditions(text: str) -> str:
    """Return the text of `alerts.yml` with the conditions of this table; what else it says stays as it is.

    Raises:
        ValueError: an alert of this table is not in it, or twice.
    """
    for name, condition in CONDITIONS.items():
        place = re.compile(rf"(?<=- alert: {name}\n)((?: +#[^\n]*\n)*).*?(?= +annotations:\n)", re.DOTALL)
        text, count = place.subn(partial(_replaced, condition), text)
        if count != 1:
            raise ValueError(f"{FILE.name} has {count} alerts {name}")
    return text


if __name__ == "__main__":
    FILE.write_text(with_conditions(FILE.read_text()))
