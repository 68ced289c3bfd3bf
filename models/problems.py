"""What can be wrong with a command or an artifact, as machine-readable codes."""

from enum import StrEnum

import msgspec


class ProblemCode(StrEnum):
    """All problem codes; a code's meaning never changes."""

    INVALID_RECORD = "invalid_record"
    """The record is not a JSON object."""
    INVALID_FIELD = "invalid_field"
    """A field is missing, has the wrong type, or is out of range."""
    UNSUPPORTED_KIND = "unsupported_kind"
    """This version does not support the command's kind."""
    WRONG_REVISION = "wrong_revision"
    """The command expects a revision other than the current one: read the lineup, then send a new command."""
    EXPIRED = "expired"
    """The command expired before all workers were ready."""
    UNKNOWN_MODEL = "unknown_model"
    """No artifact has this digest or prefix."""
    AMBIGUOUS_MODEL = "ambiguous_model"
    """Several artifacts have this prefix."""
    MISSING_ARTIFACT = "missing_artifact"
    """The repository holds no artifact with this digest."""
    DAMAGED_ARTIFACT = "damaged_artifact"
    """The bytes do not match the digest, or cannot be read as an artifact."""
    REPOSITORY_UNAVAILABLE = "repository_unavailable"
    """The repository does not respond."""
    WRONG_FINGERPRINT = "wrong_fingerprint"
    """The model was trained on features that are not computed here."""
    PROBE_MISMATCH = "probe_mismatch"
    """A worker's results for the artifact's probes differ from the artifact's, or from another worker's."""
    QUARANTINED = "quarantined"
    """The model was demoted; only a command with `force` makes it live again."""
    ALREADY_LIVE = "already_live"
    """The model is already live."""
    ALREADY_CHALLENGER = "already_challenger"
    """The model is already in the shadow."""
    CANARY_RUNNING = "canary_running"
    """A canary of another model runs, so the command would change what it is compared with: end the canary first."""
    NO_CANARY = "no_canary"
    """No canary runs, so there is none to end."""
    NO_CHALLENGER = "no_challenger"
    """No model is in the shadow, so there is nothing to withdraw."""
    UNKNOWN_TOPIC = "unknown_topic"
    """The deployment reads no such partition, so there is no loss to accept and nothing to skip."""
    WRONG_LOG = "wrong_log"
    """A log of this number is not the next of its topic: another deployment has accepted a loss meanwhile."""
    WRONG_OFFSET = "wrong_offset"
    """The partition does not hold this offset (any more)."""
    NOTHING_LIVE = "nothing_live"
    """No model is live, so there is nothing to roll back or demote."""
    NOTHING_TO_ROLL_BACK = "nothing_to_roll_back"
    """No other model was live before this one."""
    NOT_READY = "not_ready"
    """A worker of the group cannot serve the model; the detail names the worker and the reason."""
    FEATURES_WARMING = "features_warming"
    """The model's features look back further than histories have been rebuilt; the detail states the progress."""
    SHADOW_FAILED = "shadow_failed"
    """The challenger's process ended, did not answer, or returned no score; the detail says which."""


class Problem(msgspec.Struct, frozen=True):
    """One problem: a code for programs, a detail for people (what, where, what to do)."""

    code: ProblemCode
    detail: str
