"""Ed25519 signatures by `cryptography`, of the extra `signing`; imported only where a setting names keys."""

from typing import NamedTuple, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key


def verify(public: bytes, signature: bytes, value: bytes) -> bool:
    """Tell whether a signature is that of a public key of 32 bytes over a value."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, value)
    except (InvalidSignature, ValueError):
        return False
    return True


class PrivateKey(NamedTuple):
    """A private key."""

    key: Ed25519PrivateKey

    @classmethod
    def new(cls) -> Self:
        """Return a new key, from the operating system's random numbers."""
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, pem: bytes) -> Self:
        """Read a key.

        Raises:
            ValueError: says why these bytes are no Ed25519 private key that can be used.
        """
        try:
            key = load_pem_private_key(pem, None)
        except TypeError as error:
            raise ValueError("is encrypted; use a key without a password, readable by its owner only") from error
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ValueError("holds no private key in PEM") from error
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError(f"holds another kind of key than Ed25519 ({type(key).__name__.lstrip('_')})")  # noqa: TRY004
        return cls(key)

    @property
    def pem(self) -> bytes:
        """The key as PEM (PKCS 8, not encrypted)."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def public(self) -> bytes:
        """The public key's 32 bytes."""
        return self.key.public_key().public_bytes_raw()

    def sign(self, value: bytes) -> bytes:
        """Return the signature over a value, 64 bytes."""
        return self.key.sign(value)
