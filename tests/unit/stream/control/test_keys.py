"""Files of keys: what a worker and a sender of commands read, and what each of them says of one that it cannot use."""

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat

from models.signing import Role, Seal, SealRules, seal_of
from stream.control.ed25519 import PrivateKey, verify
from stream.control.keys import Signatures, read_signatures, read_signer
from stream.errors import SettingsError
from stream.settings import Settings
from support.judged_log import command
from support.signing import HERE, holder, signatures

ANN, BOB, GUARD = holder("ann"), holder("bob"), holder("guard", Role.GUARD)
PRIVATE = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
SIGNATURE = (
    "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555"
    "fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
)
"""Test 1 of RFC 8032, section 7.1: the signature is that over no bytes."""


def write(file: Path, text: str | bytes, mode: int = 0o600) -> str:
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    file.chmod(mode)
    return str(file)


def test_a_signature_is_that_of_rfc_8032() -> None:
    der = bytes.fromhex("302e020100300506032b657004220420" + PRIVATE)  # PKCS 8 of an Ed25519 key, RFC 8410
    pem = subprocess.run(
        ["openssl", "pkey", "-inform", "DER"], input=der, capture_output=True, check=True, timeout=60
    ).stdout
    key = PrivateKey.from_pem(pem)
    assert key.public.hex() == PUBLIC
    assert key.sign(b"").hex() == SIGNATURE
    assert verify(key.public, key.sign(b""), b"")
    assert not verify(key.public, key.sign(b""), b"x")
    assert not verify(key.public[:-1], key.sign(b""), b"")


def test_without_settings_nothing_is_asked_of_a_command_and_nothing_is_signed() -> None:
    assert read_signatures(Settings()) == Signatures()
    assert Signatures().seal(HERE, command("withdraw", "c", 0), b"", ()) == Seal()
    assert read_signer(Settings()) is None


def test_a_worker_trusts_the_keys_of_the_file(tmp_path: Path) -> None:
    file = write(tmp_path / "keys.toml", f"# fraud desk\n{ANN.line}\n{BOB.line}\n")
    assert read_signatures(Settings(command_keys=file)) == signatures(ANN, BOB)
    both = read_signatures(Settings(command_keys=file, two_persons=True))
    assert both == signatures(ANN, BOB, two_persons=True)


def test_a_file_of_keys_that_cannot_be_used_names_setting_file_and_problem(tmp_path: Path) -> None:
    one = write(tmp_path / "one.toml", f"{ANN.line}\n{holder('ann').line}\n{GUARD.line}")
    expected = {
        ("none.toml", False): r"FRAUDSTREAM_COMMAND_KEYS: none\.toml cannot be read: No such file",
        (write(tmp_path / "wrong.toml", "x = 1"), False): r"FRAUDSTREAM_COMMAND_KEYS: .*wrong\.toml: key 'x': expected",
        (write(tmp_path / "latin.toml", b"\xff"), False): r"FRAUDSTREAM_COMMAND_KEYS: .*latin\.toml: .*utf-8",
        ("", True): r"FRAUDSTREAM_TWO_PERSONS: needs FRAUDSTREAM_COMMAND_KEYS",
        (one, True): r"FRAUDSTREAM_TWO_PERSONS: needs keys of two persons .*one\.toml has keys of 1",
    }
    for (file, two_persons), message in expected.items():
        with pytest.raises(SettingsError, match=message):
            read_signatures(Settings(command_keys=file, two_persons=two_persons))


def test_a_sender_signs_the_exact_bytes_with_its_key(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    signer = read_signer(Settings(signing_key=write(tmp_path / "ann.pem", ANN.key.pem)))
    assert signer is not None
    rules, one = SealRules(signatures(ANN).keyring or {}, HERE, verify), command("withdraw", "c", 0)
    assert seal_of(rules, one, b"value", signer.headers(HERE, b"value")).person == "ann"
    assert seal_of(rules, one, b"values", signer.headers(HERE, b"value")).person is None
    assert caplog.messages == []


def test_a_key_that_other_users_may_read_is_used_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = write(tmp_path / "ann.pem", ANN.key.pem, 0o644)
    assert read_signer(Settings(signing_key=file)) is not None
    assert f"other users may read {file}" in caplog.text
    assert f"chmod 600 {file}" in caplog.text


def test_a_private_key_that_cannot_be_used_names_setting_file_and_problem(tmp_path: Path) -> None:
    pkcs8, secret = (Encoding.PEM, PrivateFormat.PKCS8), BestAvailableEncryption(b"secret")
    files = {
        str(tmp_path / "none.pem"): "cannot be read: No such file or directory",
        str(tmp_path): "cannot be read: Is a directory",
        write(tmp_path / "text.pem", "hello"): "holds no private key in PEM",
        write(
            tmp_path / "public.pem", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"
        ): "holds no private",
        write(tmp_path / "ed448.pem", Ed448PrivateKey.generate().private_bytes(*pkcs8, NoEncryption())): (
            "holds another kind of key than Ed25519"
        ),
        write(tmp_path / "encrypted.pem", ANN.key.key.private_bytes(*pkcs8, secret)): "is encrypted",
    }
    for file, problem in files.items():
        with pytest.raises(SettingsError) as refused:
            read_signer(Settings(signing_key=file))
        assert str(refused.value).startswith(f"FRAUDSTREAM_SIGNING_KEY: {file} {problem}")


def test_without_the_extra_both_settings_say_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stream.control.ed25519", None)
    monkeypatch.delattr("stream.control.ed25519")
    keys, key = write(tmp_path / "keys.toml", ANN.line), write(tmp_path / "ann.pem", ANN.key.pem)
    with pytest.raises(SettingsError, match=r"COMMAND_KEYS: .* install the extra fraudstream\[signing\]"):
        read_signatures(Settings(command_keys=keys))
    with pytest.raises(SettingsError, match=r"SIGNING_KEY: .* install the extra fraudstream\[signing\]"):
        read_signer(Settings(signing_key=key))
