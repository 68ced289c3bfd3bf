"""Persons with keys, and records that they sign, for tests."""

from typing import NamedTuple

from models.commands import Command, encode
from models.model_signatures import ModelTrust, signature_name
from models.repository import Repository
from models.signing import KEY_HEADER, SIGNATURE_HEADER, Role, SealScope, TrustedKey, key_id, key_line
from stream.control.ed25519 import PrivateKey, verify
from stream.control.keys import Signatures, Signer
from support.judged_log import ESTATE, Logged

HERE = SealScope(ESTATE, "", "default")


class Holder(NamedTuple):
    """Someone who holds a key."""

    key: PrivateKey
    person: str
    role: Role

    @property
    def key_id(self) -> str:
        return key_id(self.key.public)

    @property
    def line(self) -> str:
        """The line of a file of keys."""
        return key_line(self.key.public, self.person, self.role)

    def signed(self, command: Command, scope: SealScope = HERE) -> Logged:
        """Return the record of a command that this person signed for a scope."""
        value = encode(command)
        headers = {name: text or b"" for name, text in Signer(self.key_id, self.key.sign).headers(scope, value)}
        assert list(headers) == [KEY_HEADER, SIGNATURE_HEADER]
        return Logged(0, value, tuple(headers.items()))


def holder(person: str, role: Role = Role.OPERATOR) -> Holder:
    return Holder(PrivateKey.new(), person, role)


def signatures(*holders: Holder, two_persons: bool = False) -> Signatures:
    """Return what a judge that trusts these persons asks of commands."""
    keys = {one.key_id: TrustedKey(one.key.public, one.person, one.role) for one in holders}
    return Signatures(keys, verify, two_persons)


def model_trust(*holders: Holder) -> ModelTrust:
    """Return what a repository that trusts these persons' signatures of models asks."""
    return ModelTrust({one.key_id: TrustedKey(one.key.public, one.person, one.role) for one in holders}, verify)


def sign_model(repository: Repository, digest: str, *holders: Holder) -> None:
    """Write signatures of these persons beside an artifact."""
    for one in holders:
        signer = Signer(one.key_id, one.key.sign)
        repository.write(signature_name(digest, one.key_id), signer.signature_of_model(digest))
