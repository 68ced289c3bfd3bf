"""What workers say of themselves on `model-events`: group, version of the code, what settings decide, what they can.

A worker writes it as a `ready` without `command_id`, where what the log has of it is something else. The lines of the
settings are on the log once for each hash of them.
"""

from collections.abc import Collection, Mapping, Sequence
from sys import intern
from typing import NamedTuple

from models.commands import Event, EventKind
from models.times import stated_ms


class WorkerRecord(NamedTuple):
    """What a worker has said of itself: its group, the version of its code, the hash of the settings that decide.

    `can` are its capabilities, none for a version that did not announce any. `exclude_key_check` is that of its hash
    key, None if it has none.
    """

    group: str
    code_version: str
    settings: str
    can: tuple[str, ...] = ()
    exclude_key_check: str | None = None


class DatedRecord(NamedTuple):
    """A record, and since when it holds, in epoch milliseconds."""

    since_ms: int
    record: WorkerRecord


class WorkerRecords:
    """A fold over the events of all deployments.

    `only` names the worker of which alone records are kept, and the deployment of which alone capabilities are.
    """

    def __init__(self, only: tuple[str, str] | None = None) -> None:
        self._only = only
        self._groups: dict[str, str] = {}
        self._lines: dict[str, tuple[str, ...]] = {}
        self._records: dict[str, dict[str, list[DatedRecord]]] = {}
        self._can: dict[str, dict[str, tuple[str, ...]]] = {}

    def add(self, event: Event) -> None:
        """Add the next event of the log.

        A restore writes back what the lineup depends on, and no records: so they are forgotten, and workers that run
        write them again.
        """
        if event.kind is EventKind.RESTORED:
            self._groups, self._lines, self._records, self._can = {}, {}, {}, {}
        if event.kind is not EventKind.READY or not (event.group and event.code_version and event.settings):
            return
        record = WorkerRecord(
            intern(event.group),
            intern(event.code_version),
            intern(event.settings),
            tuple(map(intern, event.can)),
            event.exclude_key_check,
        )
        self._groups[event.deployment] = record.group
        if event.settings_lines:
            self._lines[record.settings] = event.settings_lines
        if self._only is None or self._only[0] == event.deployment:
            self._can.setdefault(event.deployment, {})[event.worker] = record.can
        if self._only is None or self._only == (event.deployment, event.worker):
            kept = self._records.setdefault(event.deployment, {}).setdefault(event.worker, [])
            kept.append(DatedRecord(stated_ms(event.at), record))

    def group(self, deployment: str) -> str | None:
        """Return the consumer group that a worker of a deployment named last; None if none did."""
        return self._groups.get(deployment)

    @property
    def groups(self) -> Mapping[str, str]:
        """The consumer group that a worker of each deployment named last."""
        return self._groups

    def can(self, deployment: str) -> Mapping[str, Collection[str]]:
        """Return the capabilities that each worker of a deployment has announced last, by its name."""
        return self._can.get(deployment, {})

    def lines(self, settings: str) -> Sequence[str] | None:
        """Return the lines of a hash of settings; None if no worker wrote them."""
        return self._lines.get(settings)

    def last(self, deployment: str, worker: str) -> WorkerRecord | None:
        """Return what a worker has said of itself last; None if it never did."""
        records = self._records.get(deployment, {}).get(worker)
        return records[-1].record if records else None

    def at(self, deployment: str, time_ms: int) -> Mapping[str, DatedRecord]:
        """Return what held of each worker of a deployment at a time, by name: of those that had started by then."""
        found = {}
        for worker, records in sorted(self._records.get(deployment, {}).items()):
            begun = [one for one in records if one.since_ms <= time_ms]
            if begun:
                found[worker] = begun[-1]
        return found
