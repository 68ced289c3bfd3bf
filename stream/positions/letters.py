"""Dead letters as verdicts: which offset each refuses, for whom it counts, and which are late.

Letters are not fenced. A worker that claims a partition reads `dead-letters` first, and says in a header of its first
score how far: a letter behind that, of a lower epoch, is of a worker that had lost the partition, so it is void.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fraudstream_client.validity import place_of
from models.terms import Term, term_of
from stream.engine.batches import Record

LETTERS_READ = "letters-read"
"""The header of the first score after a claim: the offset of `dead-letters` up to which the new owner has read."""
SCORES_LOST = "scores-lost"
"""The header of the first score after acknowledged ones were found gone: how many, at most, of those that were noted.

A commit notes how far scores were read, and a running worker how far it has written; later ones are not counted.
"""
OWN_HEADERS = frozenset({LETTERS_READ, SCORES_LOST})
"""Headers of a score with which a worker speaks to other readers: a producer's are not passed on."""
CODE = "error.code"
"""The first of the headers that a worker adds to those of the refused record."""
SOURCE_LOG, EPOCH = "source.log", "epoch"
"""Headers of a dead letter: the log of the refused record (0 if absent), and the epoch of who refused it."""
NO_EPOCH = -1
_MOST_DIGITS = 18
MOST_CLAIMS = 8
"""So many earlier claims of a partition are kept that make a letter late."""


class Claim(NamedTuple):
    """An epoch that a partition was claimed under, and how far the new owner had read `dead-letters` then.

    `behind` is the place of the last decision before its first score: up to there the owner before went on lawfully.
    """

    epoch: int
    letters_read: int
    behind: int = -1


class Letter(NamedTuple):
    """What a dead letter refuses: an offset in a log of a partition; `at` is its own offset in `dead-letters`.

    `epoch` is NO_EPOCH for labels, predictions, and letters of versions that did not write it; these are never late.
    """

    at: int
    topic: str
    partition: int
    log: int
    offset: int
    epoch: int
    deployment: str
    code: str

    def is_published(self, term: Term) -> bool:
        """Tell whether a worker of the deployment that publishes wrote it: letters of silent ones count for nobody.

        One without an epoch counts if its deployment has ever published.
        """
        if self.deployment == "" or term.publisher is None:
            return True
        if self.epoch == NO_EPOCH:
            return self.deployment in {term.publisher, *term.earlier}
        return term.published_in(term_of(self.epoch)) == self.deployment


def read_letter_place(record: Record) -> Letter | None:
    """Read what a record of `dead-letters` refuses; None if no worker wrote it.

    The producer's own headers come first: what the worker says begins with the last `error.code`, whatever the producer
    calls its own, since the versions before said less.
    """
    names = [name for name, _ in record.headers]
    if CODE not in names:
        return None
    headers = dict(record.headers[len(names) - 1 - names[::-1].index(CODE) :])
    partition, offset = _number(headers.get("source.partition")), _number(headers.get("source.offset"))
    if partition is None or offset is None:
        return None
    epoch = _number(headers.get(EPOCH))
    topic, deployment, code = (headers.get(name) or b"" for name in ("source.topic", "deployment", CODE))
    return Letter(
        record.offset,
        topic.decode("utf-8", "replace"),
        partition,
        _number(headers.get(SOURCE_LOG)) or 0,
        offset,
        NO_EPOCH if epoch is None else epoch,
        deployment.decode("utf-8", "replace"),
        code.decode("utf-8", "replace"),
    )


def _number(text: bytes | None) -> int | None:
    """Read a header's integer; None if it is none, or one that no worker writes."""
    return int(text) if text and text.isdigit() and len(text) <= _MOST_DIGITS else None


def letters_read_of(headers: Sequence[tuple[str, bytes | None]]) -> int | None:
    """Return how far the headers of a score say that `dead-letters` was read; None if they do not."""
    if not headers:
        return None
    return _number(dict(headers).get(LETTERS_READ))


def scores_lost_of(headers: Sequence[tuple[str, bytes | None]]) -> int:
    """Return how many scores the headers of a score say to be gone; 0 if they say nothing."""
    return _number(dict(headers).get(SCORES_LOST)) or 0


class LetterColumns:
    """The letters about one log of a partition, as columns: 24 bytes each."""

    def __init__(self) -> None:
        self._offsets, self._places, self._epochs = array("q"), array("q"), array("q")
        self._log = 0

    def add(self, letter: Letter) -> None:
        """Add one letter of this log."""
        self._log = letter.log
        self._offsets.append(letter.offset)
        self._places.append(letter.at)
        self._epochs.append(letter.epoch)

    def __len__(self) -> int:
        return len(self._offsets)

    def late(self, claims: Iterable[Claim]) -> NDArray[np.bool_]:
        """Return, of shape (n,), which letters are of workers that had lost the partition by then.

        A claim of a higher epoch had read `dead-letters` up to them. Not if they are about an offset that the owner
        before that claim has passed: they came before its last decision.
        """
        places, epochs = np.array(self._places, np.int64), np.array(self._epochs, np.int64)
        found = np.zeros(len(self), np.bool_)
        sources = np.array(self._offsets, np.int64) + place_of(self._log, 0)
        for claim in claims:
            is_after = (places >= claim.letters_read) & (sources > claim.behind)
            found |= (epochs != NO_EPOCH) & (epochs < claim.epoch) & is_after
        return found

    def late_places(self, claims: Iterable[Claim], first: int) -> list[int]:
        """Return where late letters are on `dead-letters`, from a place on."""
        places = np.array(self._places, np.int64)
        found: list[int] = places[self.late(claims) & (places >= first)].tolist()
        return found

    def needed(self, claims: Sequence[Claim], first: int = 0) -> tuple[Claim, ...]:
        """Return the claims to remember: the last one, and earlier ones without which some letter counted.

        These are the letters from `first` on: an earlier claim, which may make others late, was remembered for that.
        """
        kept: list[Claim] = []
        known = np.zeros(len(self), np.bool_)
        for claim in reversed(claims):
            late = self.late([claim])
            if not kept or claim.letters_read < first or (late & ~known).any():
                kept.append(claim)
                known |= late
        return tuple(reversed(kept[:MOST_CLAIMS]))

    def refused(self, claims: Iterable[Claim], first: int = 0) -> dict[int, int]:
        """Return where the letter of each offset from `first` on is that counts: the earliest, if there are several."""
        offsets, places = np.array(self._offsets, np.int64), np.array(self._places, np.int64)
        which = ~self.late(claims) & (offsets >= first)
        return dict(zip(offsets[which][::-1].tolist(), places[which][::-1].tolist(), strict=True))

    def offsets(self, claims: Iterable[Claim]) -> "OffsetSet":
        """Return all offsets that are refused."""
        return OffsetSet(np.array(self._offsets, np.int64)[~self.late(claims)])


def first_needed(places: Mapping[int, int], behind: int, read_to: int) -> int:
    """Return the place of the first letter about an offset from `behind` on; `read_to` if there is none."""
    return min((place for offset, place in places.items() if offset >= behind), default=read_to)


class OffsetSet:
    """A set of offsets in 8 bytes each, complete when it is made."""

    def __init__(self, offsets: NDArray[np.int64] | Sequence[int] = ()) -> None:
        self._sorted = array("q", np.unique(np.asarray(offsets, np.int64)).tobytes())

    def __contains__(self, offset: int) -> bool:
        at = bisect_left(self._sorted, offset)
        return at < len(self._sorted) and self._sorted[at] == offset

    def __len__(self) -> int:
        return len(self._sorted)

    def __iter__(self) -> Iterator[int]:
        return iter(self._sorted)


NO_OFFSETS = OffsetSet()
