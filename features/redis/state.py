"""How a deployment's histories stand, as one worker knows it: which epoch, whole how far back, and kept how.

They are kept so that every worker has what it asks: each has its own wish noted, and adopts what comes of all. A loss
raises the epoch, once for all. Nothing here knows a history; who remembers some is told when to forget them.
"""

import logging
from collections.abc import Callable, Mapping

from features.history.displaced import ANYWHERE, IN_PLACE
from features.history.retention import horizons_of
from features.history.store import Entity, Keeping
from features.redis.append import NO_EPOCH
from features.redis.connection import Connection
from features.redis.epochs import Epochs, EpochState
from features.redis.keys import HOME, Shards
from features.redis.progress import RepairProgress
from features.redis.retention import NOT_KNOWN, NOTHING, Cover, EpochCover, needs_of
from features.redis.topology import Servers, read_servers

log = logging.getLogger("fraudstream.features.redis.standing")


class HistoryState:
    """What a worker believes, until a look shows that it is otherwise.

    Nothing here may be called twice at the same time, but for looks that do not act.

    Attributes:
        epoch: the history epoch.
        whole: how far back its histories are known to be all there; NOTHING while they are not.
        kept: how long and how fine they are kept; NOT_KNOWN before that is known.
        keeps: the same, by kind; how they were kept before while `kept` is not known.
        displaced: which records may not lie where they came in.
        wholeness: what all workers know of repairs.
    """

    def __init__(self, link: Connection, shards: Shards, keeping: Keeping, forget: Callable[[], None]) -> None:
        self.epoch = NO_EPOCH
        self.whole, self.kept = NOTHING, NOT_KNOWN
        self.keeps = keeping.keeps
        self.displaced = IN_PLACE
        self.wholeness = RepairProgress(link, shards)
        self._own = needs_of(keeping.keeps)
        self._epochs = Epochs(link, shards, Cover.of(self.horizons_ms))
        self._link = link
        self._servers_key = shards.servers
        self._said: Servers | None = None
        self._forget = forget

    def covers(self, horizons_ms: Mapping[Entity, int]) -> bool:
        """Tell whether histories are known to be all there so far back."""
        return self.whole.holds(self.epoch, Cover.of(horizons_ms))

    @property
    def horizons_ms(self) -> Mapping[Entity, int]:
        """For how long histories are kept, by kind."""
        return horizons_of(self.keeps)

    @property
    def aim(self) -> EpochCover:
        """The epoch, and how far back its histories are to be whole."""
        return EpochCover(self.kept.epoch, Cover.of(self.horizons_ms))

    @property
    def missing(self) -> EpochCover | None:
        """What is to be put together: the same where they are not whole so far back; None where they are."""
        return None if self.kept is NOT_KNOWN or self.covers(self.horizons_ms) else self.aim

    @property
    def is_settled(self) -> bool:
        """Whether histories are all there, as far back as they are kept."""
        return self.kept is not NOT_KNOWN and self.covers(self.horizons_ms)

    async def join(self, now_ms: int, *, emptied: bool) -> None:
        """Take over the deployment's history epoch; the first one is the clock's seconds.

        So a deployment whose server was emptied while nobody looked does not use an epoch twice.
        """
        epoch, new = await self._epochs.join(now_ms // 1000, emptied=emptied)
        if new and emptied:
            log.error("Redis at %s holds nothing of this deployment, which has decided before", self._link.where)
        await self._begin(epoch)
        why = await self._changed_meanwhile()
        if why is not None:
            await self.lose(f"while no worker looked, {why}", taken=False)
        await self._say_who_serves()

    async def _changed_meanwhile(self) -> str | None:
        """Say why records may be lost since a worker last said who serves: nobody notices while none runs."""
        (said,) = await self._link.values([(HOME, self._servers_key)])
        now = self._link.trusted()
        return None if said is None or now is None else read_servers(said).suspicion(now)

    async def _say_who_serves(self) -> None:
        """Say it to those who join when all workers of now are gone."""
        serving = self._link.trusted()
        if serving is not None and serving != self._said:
            await self._link.set(HOME, self._servers_key, serving.text)
            self._said = serving

    async def look(self, *, act: bool) -> bool:
        """Tell whether something was lost, is whole or is kept for longer, though nothing else is asked of the server.

        With `act` that is dealt with; without, nothing changes here, and this may run beside other calls.
        """
        why = await self._link.suspicion(afresh=True)
        found = await self._epochs.read()
        others = [epoch for epoch in found.epochs if epoch != self.epoch]
        whole, kept = found.whole.under(self.epoch), found.kept.under(self.epoch)
        if not act:
            news = why is not None or others or self.kept is NOT_KNOWN or (whole, kept) != (self.whole, self.kept)
            return bool(news) or self._link.trusted() != self._said
        if why is not None:
            await self.lose(why)
        elif others:
            await self.follow(min(others) if min(others) < self.epoch else max(others))
        elif self.whole is not NOTHING and not whole.holds(self.epoch, self.whole.cover):
            await self.lose("what said that the histories are whole is gone")
        else:
            await self._learn(found)
        await self._say_who_serves()
        return True

    async def follow(self, epoch: int) -> None:
        """Go on under another epoch: raise one that is gone or was set back, adopt what another worker raised."""
        if epoch <= self.epoch:
            await self.lose("the history epoch is gone" if epoch == NO_EPOCH else f"the history epoch fell to {epoch}")
            return
        epoch = await self._epochs.rise(self.epoch)
        log.error("history epoch rose from %d to %d: another worker saw Redis lose records", self.epoch, epoch)
        await self._begin(epoch)

    async def lose(self, what: str, *, taken: bool | None = None) -> None:
        """Say that records are lost, and raise the epoch.

        Where a server was lost, the marks that the next one knows stand. Where records were `taken` from the same
        server, as they were if nothing is known of it, they do not; nor does a repair that was begun from them.
        """
        above = self.epoch
        taken = await self._link.suspicion() is None if taken is None else taken
        if taken and await self._void_marks():
            above = max(*(await self._epochs.read()).epochs, above)
        epoch = await self._epochs.rise(above)
        self._link.trust()
        log.error("Redis at %s lost histories: %s; history epoch %d -> %d", self._link.where, what, self.epoch, epoch)
        await self._begin(epoch)
        await self._say_who_serves()

    async def _void_marks(self) -> bool:
        """Make the marks void that a repair would begin from; tell if there were any."""
        epochs = {(await self.wholeness.whole()).epoch, self.epoch} - {NO_EPOCH}
        return any([await self.wholeness.void_marks(epoch) for epoch in epochs])

    async def _begin(self, epoch: int) -> None:
        """Believe in another epoch: nothing of it is known."""
        self.epoch, self.whole, self.kept, self.displaced = epoch, NOTHING, NOT_KNOWN, ANYWHERE
        self._said = None  # it may be gone with the rest
        self._forget()
        await self._learn(await self._epochs.read())

    async def _learn(self, found: EpochState) -> None:
        """Take in how far back histories are whole under the epoch, and how they are kept: as we ask, or have them so.

        Whole histories are as if nothing had been lost, but for where displaced records lie.
        """
        whole, kept = found.whole.under(self.epoch), found.kept.under(self.epoch)
        lacking = kept.lacking(self._own, whole.cover)
        if lacking:
            kept = (await self._epochs.keep(self.epoch, lacking)).under(self.epoch)
        if kept is NOT_KNOWN:  # the epoch rose meanwhile
            return
        displaced = self.displaced if whole == self.whole else await self.wholeness.displaced(self.epoch)
        forgetting = kept != self.kept or self.whole is NOTHING  # keys expire otherwise, or records were missing
        if kept != self.kept:
            self.keeps = kept.keeps
        if (whole, kept) != (self.whole, self.kept):
            log.info("histories are kept for %s, and whole for %s", kept.cover, whole.cover)
        self.whole, self.kept, self.displaced = whole, kept, displaced
        if forgetting:
            self._forget()
