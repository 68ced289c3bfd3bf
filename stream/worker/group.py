"""Who else is in the consumer group: a member of another deployment takes partitions away and never serves them.

Two groups of one deployment are as harmful: each would decide every payment. And a fleet is mixed while a member is of
a version that does not count attempts in epochs.
"""

import asyncio
import logging
from collections.abc import Collection, Sequence

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError

from stream.errors import NotReadyError
from stream.kafka.client import Member, members_of, names_for_judges
from stream.kafka.stray import given_up_as_error
from stream.settings import Settings
from stream.tasks import until_tick
from stream.watchdog import end_on_error

log = logging.getLogger("fraudstream.group")

_WATCH_SECONDS = 5.0
_RETRY_SECONDS = 0.5
_MOST_GROUPS = 300
_DEFAULT_GROUP_BEFORE = "fraudstream"
"""The default group of versions whose workers do not tell their deployment."""


class GroupCheck:
    """Refuses to join a group with members of another deployment, and tells of those that come later.

    It also tells whether the fleet is mixed: then nothing may be written that the version before cannot read.
    """

    def __init__(self, settings: Settings, admin: AIOKafkaAdminClient) -> None:
        self._settings = settings
        self._admin = admin
        self._strangers: list[str] = []
        self._mixed: bool | None = None
        self._look: asyncio.Task[None] | None = None

    @property
    def is_mixed(self) -> bool:
        """Whether a member does not announce that it counts attempts, as far as is known; true before that."""
        return self._mixed is not False

    def names_of(self, worker: str) -> Sequence[str]:
        """Return the names under which this worker answers: in a mixed fleet also the one that an old judge reads."""
        return names_for_judges(worker) if self.is_mixed else (worker,)

    def assigned(self) -> None:
        """Look at the members of a new assignment, while its positions are read."""
        if self._look is not None:
            self._look.cancel()
        self._look = asyncio.create_task(self._look_at_members())
        self._look.add_done_callback(end_on_error)

    async def settle(self) -> None:
        """Wait until the members are known as they are under this assignment."""
        if self._look is not None:
            await asyncio.shield(self._look)

    async def _look_at_members(self) -> None:
        while True:
            try:
                with given_up_as_error():
                    await self._find_strangers()
            except KafkaError as error:
                log.warning("the members of the group %s cannot be read, retrying: %s", self._settings.group, error)
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return

    def reasons(self) -> list[str]:
        """Return which members of the group are strangers."""
        return self._strangers

    async def check(self) -> None:
        """Check before joining; without the permission for the group, the consumer would end the process.

        Raises:
            NotReadyError: the group has other members, or another group has members of this deployment.
            aiokafka.errors.GroupAuthorizationFailedError: this client may not see the group.
        """
        try:
            strangers = await self._find_strangers()
        except GroupAuthorizationFailedError:
            raise
        except KafkaError as error:
            log.info("the members of the group %s cannot be read: %s", self._settings.group, error)
            return
        if found := [*strangers, *await self._find_elsewhere()]:
            raise NotReadyError("; ".join(found))

    async def watch(self) -> None:
        """Look for strangers regularly, for ever."""
        while True:
            await until_tick(_WATCH_SECONDS)
            try:
                with given_up_as_error():
                    self._strangers = await self._find_strangers()
            except KafkaError as error:
                log.info("the members of the group %s cannot be read: %s", self._settings.group, error)

    async def _find_strangers(self) -> list[str]:
        group = self._settings.group
        members = await members_of(self._admin, group)
        self._note_mixture(members)
        strangers = sorted((one for one in members if not one.is_of(self._settings.deployment)), key=str)
        return [
            f"group {group} has a member that is {_who(one)}, and takes partitions away: give it a group of its own "
            "(FRAUDSTREAM_GROUP), or end it"
            for one in strangers
        ]

    def _note_mixture(self, members: Collection[Member]) -> None:
        """Note whether the fleet is mixed, by all members: those of another deployment take partitions, too."""
        mixed = any(not one.attempts for one in members)
        if mixed and not self._mixed:
            names = ", ".join(sorted(one.name for one in members if not one.attempts))
            log.warning("%s are of the version before: until they are replaced, a write given up ends a worker", names)
        self._mixed = mixed

    async def _find_elsewhere(self) -> list[str]:
        """Return which other groups have members of this deployment; groups that may not be seen are left out."""
        try:
            groups = sorted(name for name, *_ in await self._admin.list_consumer_groups())
        except KafkaError as error:
            log.info("the groups cannot be listed, to find other workers of this deployment: %s", error)
            return []
        twins = {group: await self._twins(group) for group in groups[:_MOST_GROUPS] if group != self._settings.group}
        return [
            f"group {group} has workers of deployment {self._settings.deployment} ({', '.join(names)}): end them "
            f"first, or set FRAUDSTREAM_GROUP={group}"
            for group, names in twins.items()
            if names
        ]

    async def _twins(self, group: str) -> list[str]:
        """Return the names of this deployment's workers in another group."""
        try:
            members = await members_of(self._admin, group)
        except KafkaError:
            return []
        return sorted(one.name for one in members if self._is_twin(group, one))

    def _is_twin(self, group: str, member: Member) -> bool:
        if member.deployment is None:
            return group == _DEFAULT_GROUP_BEFORE
        return member.deployment == self._settings.deployment


def _who(member: Member) -> str:
    return (
        f"worker {member.name} of deployment {member.deployment}" if member.deployment else f"no worker, {member.name}"
    )
