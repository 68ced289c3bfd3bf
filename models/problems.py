"""What can be wrong with a command or an artifact, as codes that a program can read.

Nothing here decides anything: `judge` and `loading` do.
"""

from enum import StrEnum

import msgspec


class ProblemCode(StrEnum):
    """The one list of codes; a code's meaning never changes."""

    INVALID_RECORD = "invalid_record"
    """The record is no JSON object."""
    INVALID_FIELD = "invalid_field"
    """A field is missing, of another type, or out of range."""
    UNSUPPORTED_KIND = "unsupported_kind"
    """The command is of a kind that this version does not know."""
    WRONG_REVISION = "wrong_revision"
    """The command expects another revision than the one that holds: look, then send a new command."""
    EXPIRED = "expired"
    """The command's time was over before all members were ready."""
    UNKNOWN_MODEL = "unknown_model"
    """No artifact has this digest or prefix."""
    AMBIGUOUS_MODEL = "ambiguous_model"
    """Several artifacts have this prefix."""
    MISSING_ARTIFACT = "missing_artifact"
    """The repository holds nothing under this digest."""
    DAMAGED_ARTIFACT = "damaged_artifact"
    """The bytes are not those of the digest, or cannot be read as an artifact."""
    REPOSITORY_UNAVAILABLE = "repository_unavailable"
    """The repository does not answer."""
    WRONG_FINGERPRINT = "wrong_fingerprint"
    """The model was trained on other features than are computed here."""
    PROBE_MISMATCH = "probe_mismatch"
    """A machine computes other bits for the artifact's probes than were written into it, or than another machine."""
    QUARANTINED = "quarantined"
    """The digest was demoted: only force makes it live again."""
    ALREADY_LIVE = "already_live"
    """The model is live."""
    ALREADY_CHALLENGER = "already_challenger"
    """The model is in the shadow."""
    NO_CHALLENGER = "no_challenger"
    """There is nothing to withdraw."""
    NOTHING_LIVE = "nothing_live"
    """There is nothing to demote."""
    NOTHING_TO_ROLL_BACK = "nothing_to_roll_back"
    """No other model was live before this one."""
    NOT_READY = "not_ready"
    """A member of the group cannot serve the model; the detail says who and why."""
    FEATURES_WARMING = "features_warming"
    """The model's features look back further than histories are put together yet; the detail says how far that is."""
    SHADOW_FAILED = "shadow_failed"
    """The process that runs the challenger ended, did not answer, or got no score; the detail says which."""


class Problem(msgspec.Struct, frozen=True):
    """One thing that is wrong: a code for programs, a detail for people (what, where, what to do)."""

    code: ProblemCode
    detail: str
