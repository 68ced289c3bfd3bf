"""The errors of this package, one root.

    ModelError                        catch this to catch all of ours
    ├── InvalidTimeError              the text or number is no moment: show it to its sender
    ├── RepositoryUnavailableError    the place of the artifacts does not answer: ask again later
    ├── ArtifactError                 this artifact will never be good: use another, or put it again
    │   ├── MissingArtifactError      the repository holds nothing under this digest
    │   └── DamagedArtifactError      what it holds is not what the digest promises, or cannot be read
    ├── ProbeError                    a probe history cannot be vectorised here: raised by the caller's own function
    └── ScoringError                  no score for this matrix: try row by row, then another model

Nothing here knows how an error is shown or retried.
"""


class ModelError(Exception):
    """Any error that this package raises on purpose."""


class InvalidTimeError(ModelError, ValueError):
    """The value is no RFC 3339 text with a zone and no integer of epoch milliseconds."""


class RepositoryUnavailableError(ModelError):
    """The repository does not answer, or its URL names a file system that is not installed."""


class ArtifactError(ModelError):
    """The artifact cannot be used, now or later, unless it is put again."""


class MissingArtifactError(ArtifactError):
    """The repository holds no artifact of this digest."""


class DamagedArtifactError(ArtifactError):
    """The bytes are not those that the digest was computed from, or make no sense as what their name says."""


class ProbeError(ModelError):
    """A probe history cannot be read or vectorised by this version of the features."""


class ScoringError(ModelError):
    """The matrix has another width than the model, or the model gave a number that is no score."""
