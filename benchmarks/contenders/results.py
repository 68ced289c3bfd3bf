"""What one run of a contender comes to."""

from typing import NamedTuple


class OfferedLoad(NamedTuple):
    """What came of some payments that were offered at a rate; times are in ms, from when a payment was due.

    `waiting` are those without a score when the last was sent, `waiting_before` when two thirds were.
    """

    rate: float
    payments: int
    seconds: float
    p50: float
    p99: float
    p999: float
    waiting_before: int
    waiting: int


class Backlog(NamedTuple):
    """Decisions a second from a backlog by the broker's times, µs of CPU for each, and memory afterwards in MiB."""

    per_second: float
    cpu_us: float
    resident_mib: float


class AtRate(NamedTuple):
    """An open loop at a rate, and µs of CPU for each decision."""

    load: OfferedLoad
    cpu_us: float


class AfterKill(NamedTuple):
    """After a SIGKILL and a restart under load: payments without a score, and with more than one; the worst wait."""

    lost: int
    doubled: int
    worst_s: float
