"""Whether this deployment publishes, and how far the one that publishes has decided, which a silent one follows.

Of all deployments on the same topics one writes its decisions to `scores`; each other decides silently to a topic of
its own, and only up to the last valid decision on `scores`.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import partial
from typing import NamedTuple

import msgspec
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError

from fraudstream_client.validity import log_and_offset
from models.terms import Term
from stream.control.follower import Follower
from stream.engine.fetcher import LogConsumer, open_consumer
from stream.kafka.bounds import OffsetBounds, ends_of_all
from stream.kafka.client import committed_offsets
from stream.kafka.stray import given_up_as_error
from stream.kafka.topics import DEAD_LETTERS, SCORES, TRANSACTIONS, own_scores
from stream.positions.letters import Claim, first_needed
from stream.positions.offsets import Position, folded, read_note
from stream.positions.refused import LettersTail
from stream.positions.score_tails import noted_on_scores, start_at
from stream.settings import Settings
from stream.tasks import until_tick

log = logging.getLogger("fraudstream.role")

_Asked = tuple[int, tuple[Claim, ...], int]
"""How many letters there are of a log, the claims that make some of them late, and the log."""

_POLL_SECONDS = 0.25
_RETRY_SECONDS = 1.0
_FETCH_MS = 200


class Role(NamedTuple):
    """The term's number, whether this deployment publishes in it, and the topic of its scores."""

    term: Term
    publishes: bool
    scores: str


def role_of(settings: Settings, follower: Follower) -> Role:
    """Return the present role of the settings' deployment."""
    layout = own_scores(settings, follower.term)
    return Role(Term(follower.term.number), layout is SCORES, settings.topic(layout.name))


class PublishedScores:
    """The last valid decisions on `scores`, in the own partitions, while another deployment publishes them."""

    def __init__(self, settings: Settings, follower: Follower, admin: AIOKafkaAdminClient) -> None:
        self._settings = settings
        self._follower = follower
        self._admin = admin
        self._partitions: frozenset[int] = frozenset()
        self._positions: dict[int, Position] = {}
        self._ends: dict[int, int] = {}
        self._letters: LettersTail | None = None
        self._refused: dict[int, tuple[_Asked, Mapping[int, int]]] = {}

    def assigned(self, partitions: Iterable[int]) -> None:
        """Follow the partitions of a new assignment."""
        self._partitions = frozenset(partitions)
        self._positions, self._ends, self._letters, self._refused = {}, {}, None, {}

    def position(self, partition: int) -> Position | None:
        """Return how far `scores` were followed while this deployment was silent; None if they were not."""
        return self._positions.get(partition)

    def refused(self, partition: int, log_number: int) -> AbstractSet[int]:
        """Return the offsets of a log of a partition that the publishing deployment has refused.

        All are known that lie at or below the last valid decision.
        """
        return self._places(partition, log_number).keys()

    def noted(self, partition: int, log_number: int, behind: int) -> Position | None:
        """Return the position on `scores` as a commit of offset `behind` notes it; None if they were not followed."""
        position, letters = self.position(partition), self._letters
        if position is None or letters is None:
            return position
        first = first_needed(self._places(partition, log_number), behind, letters.read_to)
        claims = letters.letters[partition, log_number].needed(position.claims, letters.first)
        return position._replace(claims=claims, letters_from=first)

    def _places(self, partition: int, log_number: int) -> Mapping[int, int]:
        """Return where the letters are that count, by the offset that they refuse."""
        if self._letters is None or (partition, log_number) not in self._letters.letters:
            return {}
        columns = self._letters.letters[partition, log_number]
        claims = self._positions.get(partition, Position()).claims
        asked, known = (len(columns), claims, log_number), self._refused.get(partition)
        if known is None or known[0] != asked:
            known = self._refused[partition] = asked, columns.refused(claims)
        return known[1]

    def last_place(self, partition: int) -> int | None:
        """Return the place of the last valid decision; None until `scores` was read to its end."""
        position = self._positions.get(partition)
        if position is None or position.scores_offset < self._ends[partition]:
            return None
        return position.standing.last_place

    def bounds(self) -> Mapping[int, int] | None:
        """Return the offset up to which a silent deployment may read each own partition; None: it is not silent."""
        if role_of(self._settings, self._follower).publishes:
            return None
        places = {partition: self.last_place(partition) for partition in self._partitions}
        return {one: 0 if place is None else log_and_offset(place)[1] + 1 for one, place in places.items()}

    def reasons(self) -> list[str]:
        """Return how far `scores` still has to be read."""
        left = {one: self._ends[one] - at.scores_offset for one, at in self._positions.items()}
        behind = sum(count for count in left.values() if count > 0)
        return [f"the published scores are being read ({behind} left)"] if behind else []

    async def run(self) -> None:
        """Follow `scores` whenever this deployment is silent, for ever."""
        while True:
            partitions = self._partitions
            if partitions and not role_of(self._settings, self._follower).publishes:
                try:
                    with given_up_as_error():
                        await self._follow(partitions)
                except KafkaError as error:
                    log.warning("the published scores cannot be read, retrying: %s", error)
                    await asyncio.sleep(_RETRY_SECONDS)
            await until_tick(_POLL_SECONDS)

    async def _follow(self, partitions: frozenset[int]) -> None:
        """Fold the scores of an assignment's partitions until it changes."""
        consumer = open_consumer(self._settings, fetch_max_wait_ms=self._settings.fetch_wait_ms)
        try:
            await consumer.start()
            tps, letters = await self._begin(consumer, partitions)
            while partitions is self._partitions and not role_of(self._settings, self._follower).publishes:
                fetched = await consumer.getmany(*tps, timeout_ms=_FETCH_MS)
                # The markers of somebody's transactions leave gaps, at the end of the topic too.
                reached = {tp: await consumer.position(tp) for tp in tps}
                if partitions is not self._partitions:
                    return
                positions = {}
                for tp, offset in reached.items():
                    position = self._positions[tp.partition]
                    for record in fetched.get(tp, ()):
                        position = folded(position, record)
                    reached_offset = max(position.scores_offset, offset)
                    positions[tp.partition] = position._replace(scores_offset=reached_offset)
                if any(fetched.values()):  # the letters of what these scores decide are written before them
                    await letters.read()
                if partitions is self._partitions:
                    self._positions |= positions
        finally:
            await consumer.stop()

    async def _begin(
        self, consumer: LogConsumer, partitions: frozenset[int]
    ) -> tuple[Sequence[TopicPartition], LettersTail]:
        """Begin where the commits say that `scores` were read to; else at their beginning."""
        tps = [TopicPartition(self._settings.topic(SCORES.name), partition) for partition in sorted(partitions)]
        all_of_them = [*tps, TopicPartition(self._settings.topic(DEAD_LETTERS.name), 0)]
        consumer.assign(all_of_them)
        consumer.pause(*all_of_them)  # until it is known where each is read from
        begins, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        noted = await self._noted(partitions)
        first = min((noted[one].letters_from if one in noted else 0 for one in partitions), default=0)
        bounds = OffsetBounds(consumer, partial(ends_of_all, consumer))
        letters = LettersTail(consumer, bounds, settings=self._settings, term=lambda: self._follower.term, first=first)
        await letters.read()
        starts = {tp.partition: start_at(noted.get(tp.partition, Position()), begins[tp], ends[tp]) for tp in tps}
        for tp in tps:
            consumer.resume(tp)
            consumer.seek(tp, starts[tp.partition].scores_offset)
        if partitions is self._partitions:
            self._positions, self._ends, self._letters = starts, {tp.partition: ends[tp] for tp in tps}, letters
        return tps, letters

    async def _noted(self, partitions: frozenset[int]) -> dict[int, Position]:
        """Return the position on `scores` that each partition's commit names, if it names one.

        A deployment that never followed them begins where the one that publishes was at its last commit.
        """
        topic = self._settings.topic(TRANSACTIONS.name)
        tps = [TopicPartition(topic, partition) for partition in sorted(partitions)]
        found = await self._noted_by(self._settings, tps)
        name = str(self._follower.term.publisher)
        group = self._follower.workers.group(name) or ""  # the default one, where its workers are of an earlier version
        publisher = msgspec.structs.replace(self._settings, deployment=name, group=group)
        try:
            others = await self._noted_by(publisher, [tp for tp in tps if tp.partition not in found])
        except GroupAuthorizationFailedError:
            return found
        # Its commits say which letters are settled for it; here payments are read from before them.
        return {one: position._replace(letters_from=0) for one, position in others.items()} | found

    async def _noted_by(self, settings: Settings, tps: list[TopicPartition]) -> dict[int, Position]:
        """Return the positions on `scores` that the commits of a deployment's group name."""
        commits = await committed_offsets(settings, self._admin, tps) if tps else {}
        term = self._follower.term
        noted = {tp: noted_on_scores(settings, term, read_note(commits[tp].metadata)) for tp in tps}
        return {tp.partition: position for tp, position in noted.items() if position is not None}
