"""Signatures of models on the command line: signing at once by `--key`, and what is beside an artifact."""

from pathlib import Path

from fraudstream.cli.output import refuse
from fraudstream.cli.settings import refused_settings
from models.errors import ModelError
from models.model_signatures import SignatureCheck, signature_name
from models.repository import Repository
from stream.control.keys import Signer, read_model_trust, signer_from
from stream.settings import PREFIX, Settings

_NOT_VERIFIED = f"not verified: {PREFIX}MODEL_KEYS is empty"
_OPTION = "--key"


def signer_or_refuse(key: Path | None) -> Signer | None:
    """Return what signs with the key of an option; exit with 2 if its file cannot be used. None without a key."""
    if key is None:
        return None
    with refused_settings():
        return signer_from(_OPTION, str(key))


def sign_or_refuse(repository: Repository, digest: str, signer: Signer) -> str:
    """Write the signature of a stored artifact, and return its place; exit with 1 if it cannot be written."""
    name = signature_name(digest, signer.key_id)
    try:
        repository.write(name, signer.signature_of_model(digest))
    except ModelError as error:
        refuse(f"{digest} is stored, but not signed: {error}; `fraudstream model sign` signs it")
    return f"{repository.place}/{name}"


def signatures_of(settings: Settings, repository: Repository, digest: str) -> tuple[SignatureCheck, ...]:
    """Return what the signatures beside an artifact are; without trusted keys, none of them is verified.

    Raises:
        RepositoryUnavailableError: the repository does not answer.
    """
    with refused_settings():
        trust = read_model_trust(settings.model_keys)
    files = repository.signatures(digest, () if trust is None else trust.keyring)
    if trust is None:
        return tuple(SignatureCheck(name.removesuffix(".json"), None, _NOT_VERIFIED) for name in sorted(files))
    return trust.checks(digest, files)
