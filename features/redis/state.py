"""One worker's view of a deployment's history state: epoch, how far back histories are complete, and their retention.

Each worker stores its needs and adopts the union of all needs. A loss raises the epoch, once for all workers.
"""

import logging
from collections.abc import Callable, Mapping

from features.errors import StoreRefusedError
from features.history.displaced import ALL_DISPLACED, NONE_DISPLACED
from features.history.records import hash_key_check
from features.history.retention import Retention, horizons_of
from features.history.store import Entity, RetentionPolicy
from features.redis.append import NO_EPOCH
from features.redis.connection import Connection
from features.redis.epochs import Epochs, EpochState
from features.redis.evictions import EvictionWatch, read_counts
from features.redis.keys import HOME_SHARD, KeyLayout
from features.redis.progress import RepairProgress
from features.redis.retention import NO_COVERAGE, UNKNOWN_RETENTION, Coverage, EpochCoverage, retention_needs
from features.redis.topology import Servers, read_servers

log = logging.getLogger("fraudstream.features.redis.state")

_KEYED_LATER = (
    "the ids of this deployment's histories are hashed without a key: unset FRAUDSTREAM_HASH_KEY_FILE, and give a "
    "second deployment the key, which takes over with `fraudstream deployment cut-over`"
)


class HistoryState:
    """Cached view of the history state; changed by `refresh(apply=True)`, `adopt_epoch` and `record_loss`.

    Calls must not overlap, except `refresh(apply=False)`.

    Attributes:
        epoch: the history epoch.
        complete: how far back histories are known to be complete; NO_COVERAGE while they are not.
        stored: the retention as stored; UNKNOWN_RETENTION before it is known.
        displaced: which records may be displaced by a repair.
        repair_progress: what all workers know of repairs.
    """

    def __init__(
        self, connection: Connection, layout: KeyLayout, policy: RetentionPolicy, clear_caches: Callable[[], None]
    ) -> None:
        self.epoch = NO_EPOCH
        self.complete, self.stored = NO_COVERAGE, UNKNOWN_RETENTION
        self._retentions = policy.retentions
        self._horizons_ms = horizons_of(policy.retentions)
        self.displaced = NONE_DISPLACED
        self.repair_progress = RepairProgress(connection, layout)
        self._needs = retention_needs(policy.retentions)
        self._epochs = Epochs(connection, layout, Coverage.of(self.horizons_ms))
        self._connection = connection
        self._servers_key, self._evicted_key = layout.servers, layout.evicted
        self._hash_check_key = layout.hash_check
        self._evictions = EvictionWatch(connection)
        self._recorded_servers: Servers | None = None
        self._displaced_at: bytes | None = None
        self._clear_caches = clear_caches

    def covers(self, horizons_ms: Mapping[Entity, int]) -> bool:
        """Tell whether histories are known to be complete so far back."""
        return self.complete.reaches(self.epoch, horizons_ms)

    @property
    def retentions(self) -> Mapping[Entity, Retention]:
        """How long histories are kept, and how fine, by kind; the previous ones while `stored` is not known."""
        return self._retentions

    @property
    def horizons_ms(self) -> Mapping[Entity, int]:
        """How long histories are kept, by kind."""
        return self._horizons_ms

    @property
    def target(self) -> EpochCoverage:
        """The epoch, and how far back its histories are to be complete."""
        return EpochCoverage(self.stored.epoch, Coverage.of(self.horizons_ms))

    @property
    def pending_repair(self) -> EpochCoverage | None:
        """The target of the repair that is needed; None if histories are complete."""
        return None if self.stored is UNKNOWN_RETENTION or self.covers(self.horizons_ms) else self.target

    @property
    def is_complete(self) -> bool:
        """Whether histories are complete, as far back as they are kept."""
        return self.stored is not UNKNOWN_RETENTION and self.covers(self.horizons_ms)

    @property
    def refusal(self) -> str | None:
        """Why Redis must not be used now; None if it may be."""
        return self._evictions.refusal

    async def join(self, now_ms: int, *, emptied: bool) -> None:
        """Join the deployment's history epoch; the first one is the clock's time in seconds.

        So a deployment whose server was emptied while no worker ran does not use an epoch twice.
        """
        before = await self._epochs.read()
        if before.hash_check is None and any(before.epochs) and hash_key_check():
            raise StoreRefusedError(_KEYED_LATER)
        _require_same_key(before.hash_check)
        epoch, new = await self._epochs.join(now_ms // 1000, emptied=emptied)
        if new and emptied:
            log.error(
                "Redis at %s holds no histories of this deployment, which has made decisions before",
                self._connection.where,
            )
        await self._start_epoch(epoch)
        why = await self._loss_since_recorded()
        if why is not None:
            await self.record_loss(f"while no worker ran, {why}", same_server=False)
        stored, counts = (await self._epochs.read()).evicted, self._connection.evicted_keys()
        if evicted := self._evictions.evicted(counts, stored):
            await self.record_loss(f"while no worker ran, {_evicted_text(evicted)}", same_server=True)
        await self._record_servers()
        await self._record_evictions(counts, stored)

    async def _loss_since_recorded(self) -> str | None:
        """Say why records may be lost since a worker last recorded the servers: losses while no worker runs."""
        (recorded,) = await self._connection.values([(HOME_SHARD, self._servers_key)])
        now = self._connection.trusted()
        if recorded is None or now is None:
            return None
        before = read_servers(recorded)
        if before is None or len(before.masters) != len(now.masters):
            return "the record of the servers became unreadable"
        return before.loss_reason(now)

    async def _record_servers(self) -> None:
        """Store the serving servers for workers that join when all present ones are gone."""
        serving = self._connection.trusted()
        if serving is not None and serving != self._recorded_servers:
            await self._connection.set(HOME_SHARD, self._servers_key, serving.text)
            self._recorded_servers = serving

    async def refresh(self, *, apply: bool) -> bool:
        """Check for a loss, a finished repair and a changed retention; tell whether there is news.

        With `apply` the news are handled; without, nothing changes here, and the call may run beside others.

        Raises:
            StoreRefusedError: the servers may evict histories now; what they evict is handled once they may not.
        """
        why = await self._connection.loss_reason(recheck=True)
        if (refusal := self._evictions.note_refusal()) is not None:
            raise StoreRefusedError(refusal)
        counts, found = self._connection.evicted_keys(), await self._epochs.read()
        _require_same_key(found.hash_check)
        others = [epoch for epoch in found.epochs if epoch != self.epoch]
        complete, stored = found.complete.under(self.epoch), found.stored.under(self.epoch)
        if not apply:
            news = (
                why is not None
                or others
                or self._evictions.was_refused
                or counts != read_counts(found.evicted)
                or self.stored is UNKNOWN_RETENTION
                or found.displaced_at != self._displaced_at
                or (complete, stored) != (self.complete, self.stored)
            )
            return bool(news) or self._connection.trusted() != self._recorded_servers
        evicted = self._evictions.evicted(counts, found.evicted)
        if why is not None:
            # What was evicted may be gone from any history, so that the checkpoints of one that restarted are void.
            await self.record_loss(why, same_server=True if evicted or self._evictions.was_refused else None)
        elif evicted:
            await self.record_loss(_evicted_text(evicted), same_server=True)
        elif others:
            await self.adopt_epoch(min(others) if min(others) < self.epoch else max(others))
        elif self.complete is not NO_COVERAGE and not complete.holds(self.epoch, self.complete.cover):
            await self.record_loss("the key that states complete histories is gone")
        else:
            await self._adopt(found)
        await self._record_servers()
        await self._record_evictions(counts, found.evicted)
        return True

    async def _record_evictions(self, counts: Mapping[str, int], stored: bytes | None) -> None:
        """Store the servers' counts of evicted keys: a loss by these is recorded, if there was one.

        Last: a worker that dies before it leaves the old counts, by which the next one records the loss once more.
        """
        text = self._evictions.handled(counts)
        if counts != read_counts(stored):
            await self._connection.set(HOME_SHARD, self._evicted_key, text)

    async def adopt_epoch(self, epoch: int) -> None:
        """Continue under another epoch: raise one that is gone or was set back, adopt one that a worker has raised."""
        if epoch <= self.epoch:
            await self.record_loss(
                "the history epoch is gone" if epoch == NO_EPOCH else f"the history epoch fell to {epoch}"
            )
            return
        epoch = await self._epochs.raise_above(self.epoch)
        log.error(
            "history epoch rose from %d to %d: another worker detected a loss of records in Redis", self.epoch, epoch
        )
        await self._start_epoch(epoch)

    async def record_loss(self, what: str, *, same_server: bool | None = None) -> None:
        """Log that records are lost, and raise the epoch.

        If a server was lost, the checkpoints that its successor has are valid. If the server is the same one
        (`same_server`; None: find out), the checkpoints are void, and so is a repair that started from them.
        """
        above = self.epoch
        same_server = await self._connection.loss_reason() is None if same_server is None else same_server
        if same_server and await self._void_checkpoints():
            above = max(*(await self._epochs.read()).epochs, above)
        epoch = await self._epochs.raise_above(above)
        self._connection.trust()
        log.error(
            "Redis at %s lost histories: %s; history epoch %d -> %d", self._connection.where, what, self.epoch, epoch
        )
        await self._start_epoch(epoch)
        await self._record_servers()

    async def _void_checkpoints(self) -> bool:
        """Void the checkpoints from which a repair would start; tell if there were any."""
        epochs = {(await self.repair_progress.complete()).epoch, self.epoch} - {NO_EPOCH}
        return any([await self.repair_progress.void_checkpoints(epoch) for epoch in epochs])

    async def _start_epoch(self, epoch: int) -> None:
        """Continue under another epoch, of which nothing is known yet."""
        self.epoch, self.complete, self.stored, self.displaced = epoch, NO_COVERAGE, UNKNOWN_RETENTION, ALL_DISPLACED
        self._recorded_servers = None  # it may be lost as well
        self._clear_caches()
        if check := hash_key_check():
            await self._connection.set(HOME_SHARD, self._hash_check_key, check)
        await self._adopt(await self._epochs.read())

    async def _adopt(self, found: EpochState) -> None:
        """Take over coverage and retention under the epoch, after adding our own needs.

        Complete histories are as if nothing had been lost, except for displaced records.
        """
        complete, stored = found.complete.under(self.epoch), found.stored.under(self.epoch)
        lacking = stored.lacking(self._needs, complete.cover)
        if lacking:
            stored = (await self._epochs.add_needs(self.epoch, lacking)).under(self.epoch)
        if stored is UNKNOWN_RETENTION:  # the epoch was raised in between
            return
        moved = found.displaced_at != self._displaced_at and complete is not NO_COVERAGE
        if complete != self.complete or moved:
            self.displaced = await self.repair_progress.displaced(self.epoch)
        self._displaced_at = found.displaced_at
        # the expiry of keys changes, or cached histories lack records
        must_clear = stored != self.stored or self.complete is NO_COVERAGE
        if stored != self.stored:
            self._retentions = stored.retentions
            self._horizons_ms = horizons_of(stored.retentions)
        if (complete, stored) != (self.complete, self.stored):
            log.info("histories are kept for %s, and complete for %s", stored.cover, complete.cover)
        self.complete, self.stored = complete, stored
        if must_clear:
            self._clear_caches()


def _require_same_key(stored: bytes | None) -> None:
    """Refuse histories whose ids were hashed by another key: none of them would be found."""
    own = hash_key_check()
    if stored is not None and stored.decode(errors="replace") != own:
        lacks = "another than FRAUDSTREAM_HASH_KEY_FILE has" if own else "and this process has none"
        raise StoreRefusedError(
            f"the ids of this deployment's histories are hashed with a key, {lacks}: set FRAUDSTREAM_HASH_KEY_FILE to "
            "the file of that key"
        )


def _evicted_text(count: int) -> str:
    return f"the server has evicted {count} keys, of this deployment or of others"
