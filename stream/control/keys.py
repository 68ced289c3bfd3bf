"""The keys of commands, as the settings name them: those that a worker trusts, and the one that signs what is sent."""

import logging
import os
import stat
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from models.commands import Command
from models.errors import InvalidKeysError
from models.model_signatures import ModelTrust, sign_digest
from models.signing import (
    KEY_HEADER,
    SIGNATURE_HEADER,
    Headers,
    Keyring,
    Role,
    Seal,
    SealRules,
    SealScope,
    Verify,
    erasure_problem,
    key_id,
    read_keyring,
    seal_of,
)
from stream.errors import SettingsError, install_extra
from stream.settings import PREFIX, Settings

log = logging.getLogger("fraudstream.keys")

_KEYS = f"{PREFIX}COMMAND_KEYS"
_SIGNING_KEY = f"{PREFIX}SIGNING_KEY"
_MODEL_KEYS = f"{PREFIX}MODEL_KEYS"
_PERSONS = 2


class Signatures(NamedTuple):
    """What a judge asks of signatures; by default nothing."""

    keyring: Keyring | None = None
    verify: Verify | None = None
    two_persons: bool = False

    def seal(self, scope: SealScope, command: Command, value: bytes, headers: Headers) -> Seal:
        """Return who signed a record for a scope, and what is wrong with that."""
        if self.keyring is None or self.verify is None:
            return Seal()
        return seal_of(SealRules(self.keyring, scope, self.verify), command, value, headers)

    def erasure_problem(self, scope: SealScope, value: bytes, headers: Headers) -> str:
        """Say what is wrong with the signature of an erasure; empty if it counts. Without keys, none does."""
        if self.keyring is None or self.verify is None:
            return f"no key is trusted here: {_KEYS} names a file of keys"
        return erasure_problem(SealRules(self.keyring, scope.of_all, self.verify), value, headers)


def read_signatures(settings: Settings) -> Signatures:
    """Read the keys that a worker trusts.

    Raises:
        SettingsError: the file of keys cannot be used, or two persons are required and it has keys of fewer.
    """
    if not settings.command_keys:
        if settings.two_persons:
            raise SettingsError(f"{PREFIX}TWO_PERSONS: needs {_KEYS} as well, which is empty: it says whose a key is")
        return Signatures()
    keyring = _keyring(_KEYS, settings.command_keys)
    operators = {key.person for key in keyring.values() if key.role is Role.OPERATOR}
    if settings.two_persons and len(operators) < _PERSONS:
        found = f"{settings.command_keys} has keys of {len(operators)}"
        raise SettingsError(f"{PREFIX}TWO_PERSONS: needs keys of two persons of the role operator, but {found}")
    return Signatures(keyring, _ed25519(_KEYS).verify, settings.two_persons)


def read_model_trust(file: str) -> ModelTrust | None:
    """Read the keys that may sign models, those of the role `model`; None without a file: models need no signature.

    Raises:
        SettingsError: the file cannot be used, or has no such key.
    """
    if not file:
        return None
    keys = {name: key for name, key in _keyring(_MODEL_KEYS, file).items() if key.role is Role.MODEL}
    if not keys:
        advice = "`fraudstream keys new --role model` makes one"
        raise SettingsError(f"{_MODEL_KEYS}: {file} has no key of the role model; {advice}")
    return ModelTrust(keys, _ed25519(_MODEL_KEYS).verify)


class Signer(NamedTuple):
    """Signs what is sent: the id of its key, and what makes a signature of 64 bytes over a value."""

    key_id: str
    sign: Callable[[bytes], bytes]

    def headers(self, scope: SealScope, value: bytes) -> Headers:
        """Return the headers of a record with this value that is to count in a scope."""
        signature = b64encode(self.sign(scope.statement(value)))
        return ((KEY_HEADER, self.key_id.encode()), (SIGNATURE_HEADER, signature))

    def signature_of_model(self, digest: str) -> bytes:
        """Return the file of a signature that stands beside an artifact."""
        return sign_digest(digest, self.key_id, self.sign)


def read_signer(settings: Settings) -> Signer | None:
    """Read the key that signs commands; None if there is none. Warns of a file that other users may read.

    Raises:
        SettingsError: the file cannot be used.
    """
    return signer_from(_SIGNING_KEY, settings.signing_key) if settings.signing_key else None


def signer_from(source: str, file: str) -> Signer:
    """Read a private key; `source` is the setting or the option that names the file. Warns as `read_signer` does.

    Raises:
        SettingsError: the file cannot be used.
    """
    pem = _read(source, file)
    try:
        key = _ed25519(source).PrivateKey.from_pem(pem)
    except ValueError as error:
        raise SettingsError(f"{source}: {file} {error}; `fraudstream keys new` makes a key") from error
    if _others_may_read(Path(file).stat()):
        log.warning("%s: other users may read %s, and sign with it: chmod 600 %s", source, file, file)
    return Signer(key_id(key.public), key.sign)


def _others_may_read(stated: os.stat_result) -> bool:
    """Tell whether other users may read a file; a group may that reads root's file, as Kubernetes mounts a Secret."""
    of_the_group = stat.S_IRGRP if stated.st_uid == os.getuid() else 0
    return bool(stated.st_mode & (stat.S_IROTH | of_the_group))


def _keyring(setting: str, file: str) -> Keyring:
    try:
        return read_keyring(_read(setting, file).decode())
    except (InvalidKeysError, UnicodeDecodeError) as error:
        raise SettingsError(f"{setting}: {file}: {error}") from error


def _read(setting: str, file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise SettingsError(f"{setting}: {file} cannot be read: {error.strerror}") from error


def _ed25519(setting: str) -> ModuleType:
    """Import what signs and verifies: only where a setting needs it, since the extra may be missing."""
    try:
        from stream.control import ed25519  # noqa: PLC0415 - see above
    except ImportError as error:
        raise SettingsError(f"{setting}: signatures need cryptography: {install_extra('signing')}") from error
    return ed25519
