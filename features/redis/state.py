"""How a deployment's histories stand, as one worker knows it: which epoch, whole how far back, and kept how.

They are kept so that every worker has what it asks: each has its own wish noted, and adopts what comes of all. A loss
raises the epoch, once for all. Nothing here knows a history; who remembers some is told when to forget them.
"""

import logging
from collections.abc import Callable, Mapping

from features.history.displaced import ALL_DISPLACED, NONE_DISPLACED
from features.history.retention import horizons_of
from features.history.store import Entity, RetentionPolicy
from features.redis.append import NO_EPOCH
from features.redis.connection import Connection
from features.redis.epochs import Epochs, EpochState
from features.redis.keys import HOME_SHARD, KeyLayout
from features.redis.progress import RepairProgress
from features.redis.retention import NO_COVERAGE, UNKNOWN_RETENTION, Coverage, EpochCoverage, retention_needs
from features.redis.topology import Servers, read_servers

log = logging.getLogger("fraudstream.features.redis.standing")


class HistoryState:
    """What a worker believes, until a look shows that it is otherwise.

    Nothing here may be called twice at the same time, but for looks that do not act.

    Attributes:
        epoch: the history epoch.
        whole: how far back its histories are known to be all there; NOTHING while they are not.
        kept: how long and how fine they are kept; NOT_KNOWN before that is known.
        keeps: the same, by kind; how they were kept before while `stored` is not known.
        displaced: which records may not lie where they came in.
        wholeness: what all workers know of repairs.
    """

    def __init__(
        self, connection: Connection, layout: KeyLayout, policy: RetentionPolicy, clear_caches: Callable[[], None]
    ) -> None:
        self.epoch = NO_EPOCH
        self.complete, self.stored = NO_COVERAGE, UNKNOWN_RETENTION
        self.retentions = policy.retentions
        self.displaced = NONE_DISPLACED
        self.repair_progress = RepairProgress(connection, layout)
        self._needs = retention_needs(policy.retentions)
        self._epochs = Epochs(connection, layout, Coverage.of(self.horizons_ms))
        self._connection = connection
        self._servers_key = layout.servers
        self._recorded_servers: Servers | None = None
        self._clear_caches = clear_caches

    def covers(self, horizons_ms: Mapping[Entity, int]) -> bool:
        """Tell whether histories are known to be all there so far back."""
        return self.complete.holds(self.epoch, Coverage.of(horizons_ms))

    @property
    def horizons_ms(self) -> Mapping[Entity, int]:
        """For how long histories are kept, by kind."""
        return horizons_of(self.retentions)

    @property
    def target(self) -> EpochCoverage:
        """The epoch, and how far back its histories are to be whole."""
        return EpochCoverage(self.stored.epoch, Coverage.of(self.horizons_ms))

    @property
    def pending_repair(self) -> EpochCoverage | None:
        """What is to be put together: the same where they are not whole so far back; None where they are."""
        return None if self.stored is UNKNOWN_RETENTION or self.covers(self.horizons_ms) else self.target

    @property
    def is_complete(self) -> bool:
        """Whether histories are all there, as far back as they are kept."""
        return self.stored is not UNKNOWN_RETENTION and self.covers(self.horizons_ms)

    async def join(self, now_ms: int, *, emptied: bool) -> None:
        """Take over the deployment's history epoch; the first one is the clock's seconds.

        So a deployment whose server was emptied while nobody looked does not use an epoch twice.
        """
        epoch, new = await self._epochs.join(now_ms // 1000, emptied=emptied)
        if new and emptied:
            log.error("Redis at %s holds nothing of this deployment, which has decided before", self._connection.where)
        await self._start_epoch(epoch)
        why = await self._loss_since_recorded()
        if why is not None:
            await self.record_loss(f"while no worker looked, {why}", taken=False)
        await self._record_servers()

    async def _loss_since_recorded(self) -> str | None:
        """Say why records may be lost since a worker last said who serves: nobody notices while none runs."""
        (said,) = await self._connection.values([(HOME_SHARD, self._servers_key)])
        now = self._connection.trusted()
        return None if said is None or now is None else read_servers(said).loss_reason(now)

    async def _record_servers(self) -> None:
        """Say it to those who join when all workers of now are gone."""
        serving = self._connection.trusted()
        if serving is not None and serving != self._recorded_servers:
            await self._connection.set(HOME_SHARD, self._servers_key, serving.text)
            self._recorded_servers = serving

    async def refresh(self, *, apply: bool) -> bool:
        """Tell whether something was lost, is whole or is kept for longer, though nothing else is asked of the server.

        With `apply` that is dealt with; without, nothing changes here, and this may run beside other calls.
        """
        why = await self._connection.loss_reason(recheck=True)
        found = await self._epochs.read()
        others = [epoch for epoch in found.epochs if epoch != self.epoch]
        complete, stored = found.complete.under(self.epoch), found.stored.under(self.epoch)
        if not apply:
            news = (
                why is not None
                or others
                or self.stored is UNKNOWN_RETENTION
                or (complete, stored) != (self.complete, self.stored)
            )
            return bool(news) or self._connection.trusted() != self._recorded_servers
        if why is not None:
            await self.record_loss(why)
        elif others:
            await self.adopt_epoch(min(others) if min(others) < self.epoch else max(others))
        elif self.complete is not NO_COVERAGE and not complete.holds(self.epoch, self.complete.cover):
            await self.record_loss("what said that the histories are whole is gone")
        else:
            await self._adopt(found)
        await self._record_servers()
        return True

    async def adopt_epoch(self, epoch: int) -> None:
        """Go on under another epoch: raise one that is gone or was set back, adopt what another worker raised."""
        if epoch <= self.epoch:
            await self.record_loss(
                "the history epoch is gone" if epoch == NO_EPOCH else f"the history epoch fell to {epoch}"
            )
            return
        epoch = await self._epochs.raise_above(self.epoch)
        log.error("history epoch rose from %d to %d: another worker saw Redis lose records", self.epoch, epoch)
        await self._start_epoch(epoch)

    async def record_loss(self, what: str, *, taken: bool | None = None) -> None:
        """Say that records are lost, and raise the epoch.

        Where a server was lost, the marks that the next one knows stand. Where records were `taken` from the same
        server, as they were if nothing is known of it, they do not; nor does a repair that was begun from them.
        """
        above = self.epoch
        taken = await self._connection.loss_reason() is None if taken is None else taken
        if taken and await self._void_checkpoints():
            above = max(*(await self._epochs.read()).epochs, above)
        epoch = await self._epochs.raise_above(above)
        self._connection.trust()
        log.error(
            "Redis at %s lost histories: %s; history epoch %d -> %d", self._connection.where, what, self.epoch, epoch
        )
        await self._start_epoch(epoch)
        await self._record_servers()

    async def _void_checkpoints(self) -> bool:
        """Make the marks void that a repair would begin from; tell if there were any."""
        epochs = {(await self.repair_progress.complete()).epoch, self.epoch} - {NO_EPOCH}
        return any([await self.repair_progress.void_checkpoints(epoch) for epoch in epochs])

    async def _start_epoch(self, epoch: int) -> None:
        """Believe in another epoch: nothing of it is known."""
        self.epoch, self.complete, self.stored, self.displaced = epoch, NO_COVERAGE, UNKNOWN_RETENTION, ALL_DISPLACED
        self._recorded_servers = None  # it may be gone with the rest
        self._clear_caches()
        await self._adopt(await self._epochs.read())

    async def _adopt(self, found: EpochState) -> None:
        """Take in how far back histories are whole under the epoch, and how they are kept: as we ask, or have them so.

        Whole histories are as if nothing had been lost, but for where displaced records lie.
        """
        complete, stored = found.complete.under(self.epoch), found.stored.under(self.epoch)
        lacking = stored.lacking(self._needs, complete.cover)
        if lacking:
            stored = (await self._epochs.add_needs(self.epoch, lacking)).under(self.epoch)
        if stored is UNKNOWN_RETENTION:  # the epoch rose meanwhile
            return
        displaced = self.displaced if complete == self.complete else await self.repair_progress.displaced(self.epoch)
        forgetting = (
            stored != self.stored or self.complete is NO_COVERAGE
        )  # keys expire otherwise, or records were missing
        if stored != self.stored:
            self.retentions = stored.retentions
        if (complete, stored) != (self.complete, self.stored):
            log.info("histories are kept for %s, and whole for %s", stored.cover, complete.cover)
        self.complete, self.stored, self.displaced = complete, stored, displaced
        if forgetting:
            self._clear_caches()
