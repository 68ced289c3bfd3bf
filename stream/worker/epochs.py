"""The epoch of each own partition's next decisions: taken at a claim, and raised after each write that was given up.

A write that was given up may still be appended, by a broker that hung with the request in its buffer. What is written
after it has a higher epoch, so it comes first or is void; and no attempt of an owner reaches what its successor takes.
"""

import logging
from collections.abc import Callable
from typing import Protocol

from models.terms import LAST_ATTEMPT, Term, attempt_after, first_attempt

log = logging.getLogger("fraudstream.epochs")


class GroupMembers(Protocol):
    """What is known of the members of the group, as `stream.worker.group.GroupCheck` knows it."""

    @property
    def is_mixed(self) -> bool:
        """Whether a member is of a version that does not count attempts, or may be."""
        ...

    async def settle(self) -> None:
        """Wait until the members are known as they are under this assignment."""
        ...


class Epochs(dict[int, int]):
    """The epochs by partition, under one assignment; `fatal` ends the process.

    While the fleet is mixed, epochs count no attempts: a worker of the version before takes its own one above what it
    has seen, so a late write under a higher one that nobody has seen would make all of its decisions void.
    """

    def __init__(self, members: GroupMembers, fatal: Callable[[str], None]) -> None:
        super().__init__()
        self._members = members
        self._fatal = fatal
        self._seen: dict[int, int] = {}
        self._beyond: set[int] = set()
        """The partitions whose epoch is beyond those of the own generation, since such a one was seen there."""

    def may_be_newer(self, seen: int, term: Term, generation: int) -> bool:
        """Tell whether an epoch that was seen may be a newer owner's: only the coordinator knows then."""
        return term.may_be_newer(seen, generation, attempts=not self._members.is_mixed)

    def note(self, partition: int, seen: int) -> None:
        """Note the highest epoch that is known to be on a partition's scores."""
        self._seen[partition] = seen

    def take(self, partition: int, seen: int, term: Term, generation: int) -> None:
        """Take the first epoch of a partition above all that was seen, unless one was taken under this assignment.

        Raises:
            EpochsUsedUpError: those of the term are used up.
        """
        self.note(partition, seen)
        if partition not in self:
            epoch = term.epoch_without_attempts if self._members.is_mixed else term.epoch
            self[partition] = taken = epoch(generation, seen)
            self._beyond -= {partition}
            self._beyond |= set() if term.is_in_block(taken, generation) else {partition}

    def raise_attempt(self, partition: int) -> None:
        """Take the next epoch, since a write of the partition was given up; end the process if there is none.

        A partition that is not claimed has none, and its claim takes a higher one anyway.
        """
        if (given_up := self.get(partition)) is None:
            return
        following = attempt_after(given_up)
        if why := self._why_none(partition, given_up, following):
            self._fatal(f"a write to partition {partition} was given up, and there is no epoch for the next one: {why}")
        elif following is not None:
            log.warning("partition %d: a write under epoch %d was given up; next is %d", partition, given_up, following)
            self[partition] = following

    def _why_none(self, partition: int, given_up: int, following: int | None) -> str:
        if self._members.is_mixed:
            return "a member of the group is of a version that counts no attempts in epochs; upgrade all workers"
        if following is None:
            return f"it was the {LAST_ATTEMPT + 1:,}th in one assignment"
        # The next owner takes one above its own generation's and above what it sees: above ours only if it sees ours.
        if partition in self._beyond and self._seen[partition] < first_attempt(given_up):
            return "the group's generations began anew, or a static member did, and nothing was written since"
        return ""
