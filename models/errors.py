"""The errors of this package, one root.

ModelError                        catch this to catch all errors of the package
├── InvalidTimeError              the text or number is not a time: report it to its sender
├── InvalidShareError             the text is not a share of cards: report it to its sender
├── RepositoryUnavailableError    the repository does not respond: retry later
├── InvalidKeysError              a file of keys cannot be used: correct it
├── InvalidCardError              what is stated of a model cannot be used: correct it
├── EpochsUsedUpError             a group has had four million generations in a term: hand over, which begins another
├── DamagedSnapshotError          a snapshot of the control log cannot be read: use another
├── UnsealedSnapshotError         intact, but not sealed by a key that is known here, or not of this place
├── ArtifactError                 the artifact is unusable: use another, or store it again
│   ├── MissingArtifactError      the repository holds no artifact with this digest
│   ├── DamagedArtifactError      the bytes do not match the digest, or cannot be read
│   └── UntrustedArtifactError    intact, but not signed by a trusted key: let one of its holders sign it
│       ├── UnsignedArtifactError     there is no signature
│       ├── UnknownSignerError        there are signatures, but of no key that is trusted here
│       └── WrongSignatureError       what is there in the name of a trusted key is no signature of this digest
├── ProbeError                    a probe history cannot be vectorised; raised by the caller's own function
└── ScoringError                  no score for this matrix: retry row by row, then with another model
"""


class ModelError(Exception):
    """Base class of the package's errors."""


class InvalidTimeError(ModelError, ValueError):
    """The value is neither RFC 3339 text with a zone nor integer epoch milliseconds."""


class InvalidShareError(ModelError, ValueError):
    """The text is not a percentage from 0.01% to 100% in steps of 0.01."""


class InvalidKeysError(ModelError, ValueError):
    """The text is not a table of public keys; the message has a line for each problem."""


class InvalidCardError(ModelError, ValueError):
    """The text of a model's card is no TOML, or has a field that is unknown or of another type."""


class RepositoryUnavailableError(ModelError):
    """The repository does not respond, or its URL names a file system that is not installed."""


class EpochsUsedUpError(ModelError):
    """The next epoch would be one of the next term."""


class DamagedSnapshotError(ModelError):
    """The bytes are not a complete snapshot of the control log."""


class UnsealedSnapshotError(ModelError):
    """The snapshot of the control log is not sealed by a key that is known here, or belongs to another place."""


class ArtifactError(ModelError):
    """The artifact cannot be used unless it is stored again."""


class MissingArtifactError(ArtifactError):
    """The repository holds no artifact with this digest."""


class DamagedArtifactError(ArtifactError):
    """The bytes do not match the digest, or a file cannot be decoded as what its name says."""


class UntrustedArtifactError(ArtifactError):
    """Models must be signed here, and no signature beside this artifact counts."""


class UnsignedArtifactError(UntrustedArtifactError):
    """There is no signature beside the artifact."""


class UnknownSignerError(UntrustedArtifactError):
    """There are signatures beside the artifact, but of no trusted key."""


class WrongSignatureError(UntrustedArtifactError):
    """There are files in the names of trusted keys beside the artifact, but none is a signature of its digest."""


class ProbeError(ModelError):
    """A probe history cannot be read or vectorised by this version of the features."""


class ScoringError(ModelError):
    """The matrix does not have the model's width, or the model returned a value that is not a finite score."""
