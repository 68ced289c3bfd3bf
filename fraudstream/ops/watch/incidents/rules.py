"""The rules of incidents: when each opens and closes, how severe it is, and who should know.

The alerts of `deploy/prometheus/alerts.yml` about the same facts are made from these bounds, by `deploy/alerts.py`.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from fraudstream_client.incidents import IncidentRule, Severity
from stream.positions.dead_letters import MAX_RUN

CHANGE_SECONDS = 300
"""So often at most it is told that an open incident is about more payments; that it is more severe, at once."""
WAITING_SECONDS = 60
"""A partition that decides nothing for so long while a payment waits in it stands still."""

MISSED_SHARE, MISSED_WINDOW_SECONDS, MISSED_FOR_SECONDS = 0.01, 300, 600
"""More than this share of the decisions of so many seconds are late, for so long."""
MANY_SHARE, MANY_WINDOW_SECONDS, MANY_FOR_SECONDS = 0.2, 60, 120
"""Likewise, for the higher severity."""

BURST_RECORDS, BURST_SECONDS = 10, 600
"""More dead letters of one topic and code within so many seconds are a burst."""

HALTING_RUN = MAX_RUN
GOES_ON_SECONDS = 30
"""A score so long after a partition was halted shows that it goes on: those of the last batch may come behind it."""

OPERATIONS = "operations"
"""Those who run the workers, Kafka and Redis."""
FRAUD = "fraud"
"""Those who answer for models and decisions."""
BUSINESS = "business"
"""Those who answer to customers and merchants."""


class RuleTerms(NamedTuple):
    """The terms of a rule.

    Attributes:
        severity: how soon somebody should look; that of `deadlines_missed` may rise to `page`.
        receivers: who should know; whoever receives webhooks sends them on by these.
        opens_after_s: for how long it must be seen before an incident opens.
        quiet_s: an incident closes when it was not seen for so long.
        sporadic: whether only some payments show it, so that it may be unseen for `quiet_s` before it opens, too.
    """

    severity: Severity
    receivers: tuple[str, ...]
    opens_after_s: int
    quiet_s: int
    sporadic: bool


RULES: Mapping[IncidentRule, RuleTerms] = MappingProxyType(
    {
        IncidentRule.NO_WORKER: RuleTerms(
            Severity.PAGE, (OPERATIONS, BUSINESS), opens_after_s=0, quiet_s=60, sporadic=False
        ),
        IncidentRule.STAND_INS: RuleTerms(
            Severity.PAGE, (OPERATIONS, FRAUD), opens_after_s=0, quiet_s=120, sporadic=True
        ),
        IncidentRule.HISTORY_INCOMPLETE: RuleTerms(
            Severity.PAGE, (OPERATIONS, FRAUD), opens_after_s=0, quiet_s=120, sporadic=True
        ),
        IncidentRule.CAP_REACHED: RuleTerms(Severity.PAGE, (FRAUD,), opens_after_s=60, quiet_s=300, sporadic=True),
        IncidentRule.DEADLINES_MISSED: RuleTerms(
            Severity.TICKET, (OPERATIONS,), opens_after_s=0, quiet_s=300, sporadic=False
        ),
        IncidentRule.PARTITION_HALTED: RuleTerms(
            Severity.PAGE, (OPERATIONS, BUSINESS), opens_after_s=5, quiet_s=60, sporadic=False
        ),
        IncidentRule.DEAD_LETTERS: RuleTerms(
            Severity.TICKET, (OPERATIONS,), opens_after_s=0, quiet_s=60, sporadic=False
        ),
        IncidentRule.GUARD_BREACH: RuleTerms(Severity.PAGE, (FRAUD,), opens_after_s=0, quiet_s=60, sporadic=False),
        IncidentRule.LOSS_ACCEPTED: RuleTerms(
            Severity.TICKET, (OPERATIONS, BUSINESS), opens_after_s=0, quiet_s=0, sporadic=False
        ),
        IncidentRule.DRIFT: RuleTerms(Severity.TICKET, (FRAUD,), opens_after_s=0, quiet_s=0, sporadic=False),
        IncidentRule.LABELS_MISSING: RuleTerms(
            Severity.TICKET, (OPERATIONS, FRAUD), opens_after_s=0, quiet_s=0, sporadic=False
        ),
        IncidentRule.FIELD_STOPPED: RuleTerms(
            Severity.TICKET, (OPERATIONS, FRAUD), opens_after_s=0, quiet_s=0, sporadic=False
        ),
        IncidentRule.FIELD_BEGUN: RuleTerms(Severity.TICKET, (FRAUD,), opens_after_s=0, quiet_s=0, sporadic=False),
    }
)
"""What each rule says."""

TOLD_BY_THE_WATCH = frozenset(
    {IncidentRule.DRIFT, IncidentRule.LABELS_MISSING, IncidentRule.FIELD_STOPPED, IncidentRule.FIELD_BEGUN}
)
"""The rules of `drift` and `fields` in `fraudstream.ops.watch`, whose windows have minutes or days; the fold of seconds
leaves them out."""
