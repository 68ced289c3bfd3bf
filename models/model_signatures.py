"""Who signed an artifact: detached Ed25519 signatures over its digest, files of their own beside the artifact.

The digest already covers every byte of the four files, so a signature covers them too, and signing changes no digest.
What is signed begins with a line of its own, which no command (a JSON object) and no other record of ours begins with:
a signature of the one is never one of the other, even where a person uses one key for both.
"""

import binascii
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from typing import NamedTuple

import msgspec

from models.errors import UnknownSignerError, UnsignedArtifactError, WrongSignatureError
from models.signing import Keyring, Verify

FOLDER = "signatures"
"""The folder in the repository; below it one for each digest, with a file for each key."""
_DOMAIN = b"fraudstream model signature 1\n"


class ModelSignature(msgspec.Struct, frozen=True, kw_only=True, tag_field="schema", tag="signature/1"):
    """The file of one signature: of which artifact, by which key (its id), and its 64 bytes in base64."""

    digest: str
    key: str
    signature: str


class SignatureCheck(NamedTuple):
    """What a file of a signature turned out to be: the key's id, whose it is, and what is wrong; empty if it counts."""

    key: str
    person: str | None = None
    problem: str = ""


_decode = msgspec.json.Decoder(ModelSignature).decode


def statement(digest: str) -> bytes:
    """Return the bytes that are signed for an artifact: a line that says what this is, and a line with the digest."""
    return _DOMAIN + digest.encode() + b"\n"


def signature_folder(digest: str) -> str:
    """Return where in the repository the signatures of an artifact are."""
    return f"{FOLDER}/{digest}"


def signature_name(digest: str, key: str) -> str:
    """Return where in the repository the signature of an artifact by a key is."""
    return f"{signature_folder(digest)}/{key}.json"


def sign_digest(digest: str, key: str, sign: Callable[[bytes], bytes]) -> bytes:
    """Return the file of a signature by the key with this id; `sign` returns its 64 bytes over a value."""
    signature = b64encode(sign(statement(digest))).decode()
    return msgspec.json.encode(ModelSignature(digest=digest, key=key, signature=signature)) + b"\n"


class ModelTrust(NamedTuple):
    """The keys that may sign models, by id, and what verifies a signature."""

    keyring: Keyring
    verify: Verify

    def checks(self, digest: str, files: Mapping[str, bytes]) -> tuple[SignatureCheck, ...]:
        """Return what each file beside an artifact turned out to be; `files` are values by file name."""
        return tuple(self._check(digest, name, value) for name, value in sorted(files.items()))

    def require(self, digest: str, files: Mapping[str, bytes]) -> None:
        """Raise unless at least one trusted key has signed an artifact; other files beside it do no harm.

        Raises:
            UnsignedArtifactError: there is no signature.
            UnknownSignerError: there are signatures, but of no trusted key.
            WrongSignatureError: there are files in the names of trusted keys, but none is a signature of the digest.
        """
        found = self.checks(digest, files)
        if any(not one.problem for one in found):
            return
        wrong = [one for one in found if one.person is not None]
        why = "; ".join(one.problem for one in wrong or found)
        if wrong:
            raise WrongSignatureError(f"{digest} is not signed by a key that is trusted here: {why}")
        advice = "let one of the persons in FRAUDSTREAM_MODEL_KEYS sign it by `fraudstream model sign`"
        if found:
            raise UnknownSignerError(f"{digest} is not signed by a key that is trusted here: {why}; {advice}")
        raise UnsignedArtifactError(f"{digest} is not signed; {advice}")

    def _check(self, digest: str, name: str, value: bytes) -> SignatureCheck:
        key = name.removesuffix(".json")
        trusted = self.keyring.get(key)
        if trusted is None:
            return SignatureCheck(key, problem=f"key {key!r:.40} is not in FRAUDSTREAM_MODEL_KEYS with the role model")
        try:
            found = _decode(value)
            signature = b64decode(found.signature, validate=True)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, binascii.Error, ValueError):
            return SignatureCheck(key, trusted.person, f"{name} is no file of a signature; sign the model again")
        if found.digest != digest or not self.verify(trusted.public, signature, statement(digest)):
            problem = f"{name} is not a signature by {trusted.person}'s key of this digest; sign the model again"
            return SignatureCheck(key, trusted.person, problem)
        return SignatureCheck(key, trusted.person)
