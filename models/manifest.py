"""What an artifact says about itself.

There is no time of making in it: the same training must give the same digest. Nothing here reads a file.
"""

from typing import Annotated

import msgspec

from models.calibration import Calibration
from models.commands import Digest, Timestamp, Token
from models.policy import Policy

Parameter = bool | int | float | str


class TrainingData(msgspec.Struct, frozen=True, kw_only=True):
    """The transactions a model was fitted to; `fingerprint` is a hash of their content, labels included."""

    since: Timestamp
    until: Timestamp
    rows: int
    frauds: int
    fingerprint: Digest


class Manifest(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="manifest/1", omit_defaults=True):
    """Everything about a model but its trees.

    `fingerprint` and `feature_names` are those of the feature set that its rows come from, in this order. `parent` is
    the digest of the teacher or ancestor.
    """

    name: Token
    version: Token
    fingerprint: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    feature_names: Annotated[tuple[str, ...], msgspec.Meta(min_length=1, max_length=4096)]
    training: TrainingData
    code_version: str
    parameters: dict[str, Parameter]
    seed: int
    metrics: dict[str, float]
    calibration: Calibration
    policy: Policy
    parent: Digest | None = None

    def __post_init__(self) -> None:
        if len(set(self.feature_names)) != len(self.feature_names):
            raise ValueError("feature_names: a name occurs twice")
