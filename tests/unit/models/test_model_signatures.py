"""A repository that asks for signatures returns signed artifacts alone, and says of every other what is wrong."""

from base64 import b64encode
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from fsspec.implementations.local import LocalFileSystem
from hypothesis import given
from hypothesis import strategies as st

from models.artifact import FILES, digest_of
from models.commands import encode
from models.errors import (
    DamagedArtifactError,
    RepositoryUnavailableError,
    UnknownSignerError,
    UnsignedArtifactError,
    UntrustedArtifactError,
    WrongSignatureError,
)
from models.loading import Model, inspect_artifact, load, load_for_replay
from models.model_signatures import signature_name, statement
from models.problems import ProblemCode
from models.repository import MOST_SIGNATURES, Repository
from models.signing import KEY_HEADER, SIGNATURE_HEADER, Role, SealRules, seal_of
from stream.control.ed25519 import verify
from support.judged_log import command
from support.model_artifacts import FINGERPRINT, artifact, history_vectors
from support.signing import HERE, Holder, holder, model_trust, sign_model, signatures

ANN, BOB, EVE = holder("ann", Role.MODEL), holder("bob", Role.MODEL), holder("eve", Role.MODEL)
CONTENTS = {name: f"contents of {name}".encode() for name in FILES}
DIGEST = digest_of(CONTENTS)


@pytest.fixture(params=["folder", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    return str(tmp_path / "models") if request.param == "folder" else f"memory://{tmp_path.name}/models"


def trusting(url: str, *holders: Holder) -> Repository:
    return Repository(url, model_trust(*holders))


def test_a_signature_is_a_file_beside_the_artifact_and_changes_neither_digest_nor_files(url: str) -> None:
    repository = Repository(url)
    digest = repository.put(CONTENTS)
    sign_model(repository, digest, ANN)
    assert repository.digests() == (digest,)
    assert repository.fetch(digest) == CONTENTS, "who asks for no signatures, as an earlier version, reads it as before"
    assert trusting(url, ANN).fetch(digest) == CONTENTS
    assert repository.put(CONTENTS) == digest
    assert trusting(url, ANN).fetch(digest) == CONTENTS


def test_what_is_signed_is_the_digest_behind_a_line_that_says_what_it_is(url: str) -> None:
    repository = Repository(url)
    sign_model(repository, DIGEST, ANN)
    stored = msgspec.json.decode(repository.signatures(DIGEST)[f"{ANN.key_id}.json"])
    assert stored.keys() == {"schema", "digest", "key", "signature"}
    message = b"fraudstream model signature 1\n" + DIGEST.encode() + b"\n"
    raw = msgspec.convert(stored["signature"], bytes)  # msgspec reads base64
    Ed25519PublicKey.from_public_bytes(ANN.key.public).verify(raw, message)


def test_several_persons_may_sign_and_one_of_them_is_enough(url: str) -> None:
    repository = Repository(url)
    digest = repository.put(CONTENTS)
    sign_model(repository, digest, ANN, BOB, EVE)
    for trusted in ((ANN,), (BOB,), (ANN, BOB)):
        assert trusting(url, *trusted).fetch(digest) == CONTENTS
    checks = model_trust(ANN, BOB).checks(digest, repository.signatures(digest))
    assert {one.key: (one.person, bool(one.problem)) for one in checks} == {
        ANN.key_id: ("ann", False),
        BOB.key_id: ("bob", False),
        EVE.key_id: (None, True),
    }


def test_an_unsigned_artifact_is_refused(url: str) -> None:
    digest = Repository(url).put(CONTENTS)
    with pytest.raises(UnsignedArtifactError, match=f"^{digest} is not signed; .*`fraudstream model sign`$"):
        trusting(url, ANN).fetch(digest)


def test_an_artifact_that_a_stranger_signed_is_refused(url: str) -> None:
    repository = Repository(url)
    digest = repository.put(CONTENTS)
    sign_model(repository, digest, EVE)
    with pytest.raises(UnknownSignerError, match=f"key '{EVE.key_id}' is not in FRAUDSTREAM_MODEL_KEYS"):
        trusting(url, ANN, BOB).fetch(digest)


def test_a_signature_of_another_artifact_is_refused_also_under_a_changed_digest(url: str) -> None:
    repository = Repository(url)
    digest, other = repository.put(CONTENTS), repository.put(CONTENTS | {"model.txt": b"another"})
    sign_model(repository, other, ANN)
    copied = repository.signatures(other)[f"{ANN.key_id}.json"]
    for value in (copied, copied.replace(other.encode(), digest.encode())):
        repository.write(signature_name(digest, ANN.key_id), value)
        with pytest.raises(WrongSignatureError, match="is not a signature by ann's key of this digest; sign the model"):
            trusting(url, ANN).fetch(digest)


def test_a_stranger_who_signs_in_the_name_of_a_trusted_key_is_refused(url: str) -> None:
    repository = Repository(url)
    digest = repository.put(CONTENTS)
    sign_model(repository, digest, EVE)
    forged = repository.signatures(digest)[f"{EVE.key_id}.json"].replace(EVE.key_id.encode(), ANN.key_id.encode())
    repository.write(signature_name(digest, ANN.key_id), forged)
    with pytest.raises(WrongSignatureError, match="sign the model again"):
        trusting(url, ANN).fetch(digest)


def test_a_tampered_artifact_is_refused_although_it_is_signed(url: str) -> None:
    repository = Repository(url)
    digest = repository.put(CONTENTS)
    sign_model(repository, digest, ANN)
    repository._files.pipe_file(repository._path(digest, "model.txt"), b"Contents of model.txt")
    with pytest.raises(DamagedArtifactError, match="store it again"):
        trusting(url, ANN).fetch(digest)


@pytest.mark.parametrize(
    "value",
    [b"", b"null", b"[1]", b"{", b"\xff", b'{"schema":"signature/2"}', b"9" * 5000, b"[" * 4000,
     b'{"schema":"signature/1","digest":"","key":"","signature":"%"}'],
)  # fmt: skip
def test_a_file_that_is_no_signature_is_a_wrong_one_and_a_good_one_beside_it_counts(value: bytes, url: str) -> None:
    repository = Repository(url)
    digest = repository.put(CONTENTS)
    repository.write(signature_name(digest, ANN.key_id), value)
    with pytest.raises(WrongSignatureError, match=r"json is (no file of a|not a) signature"):
        trusting(url, ANN, BOB).fetch(digest)
    sign_model(repository, digest, BOB)
    assert trusting(url, ANN, BOB).fetch(digest) == CONTENTS


@given(st.integers(0, 63), st.integers(1, 255))
def test_no_signature_with_a_changed_byte_counts(at: int, change: int) -> None:
    signature = bytearray(ANN.key.sign(statement(DIGEST)))
    signature[at] ^= change
    fields = {"schema": "signature/1", "digest": DIGEST, "key": ANN.key_id}
    value = msgspec.json.encode(fields | {"signature": b64encode(bytes(signature)).decode()})
    with pytest.raises(UntrustedArtifactError):
        model_trust(ANN).require(DIGEST, {f"{ANN.key_id}.json": value})


def test_a_signature_of_a_model_is_none_of_a_command_and_the_other_way_round() -> None:
    promote = command("promote", "p", 0, DIGEST)
    value = encode(promote)
    of_model = b64encode(ANN.key.sign(statement(DIGEST)))
    headers = ((KEY_HEADER, ANN.key_id.encode()), (SIGNATURE_HEADER, of_model))
    keyring = signatures(ANN).keyring
    assert keyring is not None
    seal = seal_of(SealRules(keyring, HERE, verify), promote, value, headers)
    assert [problem.code for problem in seal.problems] == [ProblemCode.WRONG_SIGNATURE]
    assert not statement(DIGEST).startswith((b"{", HERE.statement(b"")[:20]))


def test_a_file_that_cannot_be_read_puts_no_signed_model_out_of_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = Repository(str(tmp_path))
    digest = repository.put(CONTENTS)
    sign_model(repository, digest, ANN)
    sign_model(repository, digest, BOB)
    repository.write(signature_name(digest, "junk"), b"")
    unreadable = {"junk"}
    read = LocalFileSystem.cat_file

    def cat(self: Any, path: str, *arguments: Any) -> Any:
        if Path(path).stem in unreadable:
            raise PermissionError(13, "denied", path)
        return read(self, path, *arguments)

    monkeypatch.setattr(LocalFileSystem, "cat_file", cat)
    for key in (ANN.key_id, ""):
        unreadable.add(key)
        assert trusting(str(tmp_path), ANN, BOB).fetch(digest) == CONTENTS
    assert repository.signatures(digest)["junk.json"] == b""
    with pytest.raises(RepositoryUnavailableError, match="denied"):
        trusting(str(tmp_path), ANN).fetch(digest)
    with pytest.raises(UnknownSignerError):
        trusting(str(tmp_path), EVE).fetch(digest)


def test_no_more_signatures_are_read_than_the_limit(url: str) -> None:
    repository = Repository(url)
    digest = repository.put(CONTENTS)
    for number in range(MOST_SIGNATURES + 5):
        repository.write(signature_name(digest, f"{number:016x}"), b"{}")
    assert len(repository.signatures(digest)) == MOST_SIGNATURES
    sign_model(repository, digest, ANN)
    assert trusting(url, ANN).fetch(digest) == CONTENTS, "many others push no trusted signature aside"


def test_every_way_to_load_a_model_answers_with_the_problem(tmp_path: Path) -> None:
    plain, asks = Repository(str(tmp_path)), Repository(str(tmp_path), model_trust(ANN))
    digest = plain.put(artifact())
    ways = (
        lambda: load(asks, digest, {FINGERPRINT: history_vectors}),
        lambda: load_for_replay(asks, digest),
        lambda: inspect_artifact(asks, digest[:12]),
    )
    for code, signers in ((ProblemCode.UNSIGNED_MODEL, ()), (ProblemCode.UNKNOWN_MODEL_KEY, (EVE,))):
        sign_model(plain, digest, *signers)
        for way in ways:
            found = way()
            assert isinstance(found, tuple)
            assert [problem.code for problem in found] == [code]
    sign_model(plain, digest, ANN)
    assert isinstance(ways[0](), Model)
    plain.write(signature_name(digest, ANN.key_id), plain.signatures(digest)[f"{EVE.key_id}.json"])
    found = ways[0]()
    assert isinstance(found, tuple)
    assert [problem.code for problem in found] == [ProblemCode.WRONG_MODEL_SIGNATURE]
