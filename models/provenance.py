"""Where an artifact was made: the code and the libraries, as far as its bits may depend on them."""

import hashlib
from collections.abc import Mapping
from typing import Annotated

import msgspec

from models.commands import Digest

Version = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Commit = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{40}([0-9a-f]{24})?$")]


class Provenance(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The code and the environment of a training.

    `code` is the SHA-256 over the sources that training runs, whatever they were installed from, `commit` the commit
    that they were installed or checked out from; None if that is not known. `python` and `libraries` are versions, the
    latter by the name of the distribution.
    """

    code: Digest
    commit: Commit | None = None
    python: Version
    libraries: dict[str, Version]


def configuration_fingerprint(parameters: Mapping[str, bool | int | float | str], seed: int) -> str:
    """Return the SHA-256 of a training's parameters and seed: equal for trainings that were configured alike.

    It is derived from what every manifest holds, so artifacts of all versions have one.
    """
    value = msgspec.json.encode({"parameters": dict(parameters), "seed": seed}, order="deterministic")
    return hashlib.sha256(value).hexdigest()
