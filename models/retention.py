"""Which artifacts a prune deletes: those that nothing names and that are old enough. A pure function of what was read.

What counts as a name errs on the side of keeping: any text in the control topics that is a digest or begins one.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from models.lineage import named_models
from models.repository import StoredManifest

_HEX = re.compile(rb"(?<![0-9a-fA-F])[0-9a-f]{8,64}(?![0-9a-fA-F])")
"""What can name a model in a command or an event: a digest, or 8 or more of its first digits."""
_DECIDED = re.compile(rb'"digest"\s*:\s*"([0-9a-f]{64})"')
"""How scores, comparisons and explanations name a model."""
_PREDICTED = re.compile(rb'"model"\s*:\s*"([^"]*)"')
"""How a prediction names the model that made it: in a text of its publisher's own."""
_SHORTEST, _LONGEST = 8, 64
_SHOWN = 12


class Mentions:
    """What names models, by digest or by the beginning of one, with the reasons in the order in which they came."""

    def __init__(self) -> None:
        self._reasons: dict[str, dict[str, None]] = {}

    def add(self, name: str, reason: str) -> None:
        """Note that a digest, or the beginning of one, is named."""
        self._reasons.setdefault(name, {})[reason] = None

    def add_control(self, value: bytes, reason: str) -> None:
        """Note everything in a record of a control topic that can name a model."""
        for name in _HEX.findall(value):
            self.add(name.decode(), reason)

    def add_decision(self, value: bytes, reason: str) -> None:
        """Note the models that a record of a decision names."""
        for name in _DECIDED.findall(value):
            self.add(name.decode(), reason)

    def add_prediction(self, value: bytes, reason: str) -> None:
        """Note everything in the field `model` of a prediction that can name a model."""
        for text in _PREDICTED.findall(value):
            self.add_control(text, reason)

    def update(self, other: "Mentions") -> None:
        """Note all that others have noted."""
        for name, reasons in other._reasons.items():  # noqa: SLF001 - of this class
            self._reasons.setdefault(name, {}).update(reasons)

    def of(self, digest: str) -> tuple[str, ...]:
        """Return why a model is named, without repetition; empty if it is not."""
        names = (digest[:length] for length in range(_LONGEST, _SHORTEST - 1, -1))
        return tuple(dict.fromkeys(reason for name in names for reason in self._reasons.get(name, ())))

    def __len__(self) -> int:
        """Return how many names there are."""
        return len(self._reasons)


class PrunePlan(NamedTuple):
    """Why each model is kept, by digest, and the models that are not, sorted."""

    kept: Mapping[str, tuple[str, ...]]
    deleted: tuple[str, ...]


def plan_prune(stored: Mapping[str, StoredManifest | None], mentions: Mentions, keep_since_ms: int) -> PrunePlan:
    """Plan a prune of all artifacts of a repository.

    Args:
        stored: the manifest of each artifact as it is stored, by digest; None for one that cannot be read.
        mentions: what the history, the decisions and the snapshots name.
        keep_since_ms: models that were stored at this time or later, in epoch milliseconds, are kept.
    """
    kept = {digest: reasons for digest in sorted(stored) if (reasons := _own(digest, stored, mentions, keep_since_ms))}
    known = frozenset(stored)
    for digest, reason in _relatives(kept, stored, known):
        kept[digest] = (reason,)
    return PrunePlan(kept, tuple(sorted(known - kept.keys())))


def _own(
    digest: str, stored: Mapping[str, StoredManifest | None], mentions: Mentions, keep_since_ms: int
) -> tuple[str, ...]:
    manifest = stored[digest]
    return (*mentions.of(digest), *_of_storage(manifest, keep_since_ms))


def _of_storage(manifest: StoredManifest | None, keep_since_ms: int) -> Iterator[str]:
    if manifest is None:
        yield "its manifest cannot be read"
    elif manifest.stored_ms is None:
        yield "the file system does not tell when it was stored"
    elif manifest.stored_ms >= keep_since_ms:
        yield "young"


def _relatives(
    kept: Iterable[str], stored: Mapping[str, StoredManifest | None], known: frozenset[str]
) -> Iterator[tuple[str, str]]:
    """Yield what the manifests of kept models name, and what the manifests of those name in turn."""
    seen = set(kept)
    waiting = sorted(seen)
    while waiting:
        digest = waiting.pop()
        manifest = stored[digest]
        for one in () if manifest is None else named_models(manifest.value, digest, known):
            if one.digest not in seen:
                seen.add(one.digest)
                waiting.append(one.digest)
                yield one.digest, f"{one.field} of {digest[:_SHOWN]}"
