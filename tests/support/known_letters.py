"""The dead letters of a test, in place of those that `stream.positions.refused.LettersTail` reads from a broker."""

from collections import defaultdict
from collections.abc import Iterable

from fraudstream_client.validity import place_of
from stream.positions.letters import NO_EPOCH, Claim, Letter, LetterColumns


class KnownLetters:
    """Letters that are known as far as `end`, by partition and log."""

    def __init__(self, letters: Iterable[Letter] = (), end: int = 0) -> None:
        self.letters: defaultdict[tuple[int, int], LetterColumns] = defaultdict(LetterColumns)
        self.first, self.read_to = 0, end
        self.passes = 0
        for one in letters:
            self.add(one)

    def add(self, letter: Letter) -> None:
        self.letters[letter.partition, letter.log].add(letter)
        self.read_to = max(self.read_to, letter.at + 1)

    def why_held_back(self) -> str:
        return ""

    async def read(self) -> int:
        self.passes += 1
        return self.read_to


def is_late(letter: Letter, claims: Iterable[Claim]) -> bool:
    """Tell of one letter what `LetterColumns.late` tells of many."""
    place = place_of(letter.log, letter.offset)
    return letter.epoch != NO_EPOCH and any(
        letter.epoch < one.epoch and one.letters_read <= letter.at and one.behind < place for one in claims
    )


def refusal(at: int, offset: int, epoch: int, *, partition: int = 0, log: int = 0, deployment: str = "d") -> Letter:
    """Return a letter about a transaction."""
    return Letter(at, "transactions", partition, log, offset, epoch, deployment, "not_json")
