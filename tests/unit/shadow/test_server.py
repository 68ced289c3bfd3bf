import contextlib
from itertools import count
from pathlib import Path
from typing import Any

import jsonschema
import lightgbm
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraudstream_client.outputs import Decision
from models.artifact import read_artifact, with_policy, write_artifact
from models.calibration import Calibrator
from models.errors import ScoringError
from models.list_rules import ListRule, RuleAction, RuleSet
from models.loading import Model, load
from models.policy import Floats, Policy, bands
from models.problems import Problem
from models.repository import Repository
from shadow.comparison import read_comparison
from shadow.errors import FrameError
from shadow.protocol import (
    Compare,
    CompareResult,
    KeepOnly,
    Load,
    Loaded,
    decode_reply,
    decode_request,
    encode,
)
from shadow.server import ChallengerServer, Score
from stream.contract.schema import json_schema
from support.model_artifacts import CALIBRATION, FINGERPRINT, artifact, history_vectors, rows, train

LIVE = "d" * 64
REQUESTS = (Load("a"), KeepOnly(("a", "b")), Compare("a", 1, b"12345678", (b"{}",)))
REPLIES = (Loaded(None), CompareResult((b"x", None), (0.5, None), (Decision.REVIEW, None), 1, 2, "why"))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    folder: Path = tmp_path_factory.mktemp("models")
    return Repository(str(folder))


@pytest.fixture(scope="module")
def digest(repository: Repository) -> str:
    return repository.put(artifact(seed=3))


def new_server(repository: Repository, score: Score = Model.score) -> ChallengerServer:
    clock = count(1_767_225_600_000_000_000, 1_000_000)
    return ChallengerServer(
        lambda name: load(repository, name, {FINGERPRINT: history_vectors}), lambda: next(clock), score
    )


def decided(number: int, score: float | None = 0.25, decision: Decision = Decision.APPROVE, **changes: Any) -> bytes:
    """A score record with the fields that a comparison reads, and some that it does not."""
    return msgspec.json.encode(
        {
            "schema": "score/1",
            "transaction_id": f"t-{number}",
            "card_id": "card-1",
            "merchant_id": "m",
            "occurred_at": "2026-01-01T00:00:00.000Z",
            "amount_minor": number,
            "currency": "EUR",
            "score": score,
            "band": None if score is None else int(bands(np.array([score]))[0]),
            "decision": decision,
            "model": None if score is None else {"name": "n", "version": "v", "digest": LIVE},
            "revision": 7,
            "source": {"topic": "transactions", "partition": 2, "offset": number},
            "features": {"a": None},
        }
        | changes
    )


def ask(digest: str, matrix: Floats, records: list[bytes]) -> Compare:
    return Compare(digest, matrix.shape[1], matrix.tobytes(), tuple(records))


@pytest.fixture(scope="module")
def trees() -> lightgbm.Booster:
    return train(seed=3)


@given(size=st.integers(1, 40), seed=st.integers(0, 5))
def test_a_comparison_equals_the_boosters_score_and_the_policys_decision_to_the_last_bit(
    repository: Repository, digest: str, trees: lightgbm.Booster, size: int, seed: int
) -> None:
    server, matrix = new_server(repository), rows(size, seed=seed)
    assert isinstance(server.answer(Load(digest)), Loaded)
    reply = server.answer(ask(digest, matrix, [decided(number) for number in range(size)]))
    assert isinstance(reply, CompareResult)
    plain = Calibrator.of(CALIBRATION).probabilities(np.asarray(trees.predict(matrix, raw_score=True, num_threads=1)))
    decisions = Policy(review_at=0.5, decline_at=0.8).decide(plain)
    assert list(reply.scores) == plain.tolist()
    assert list(reply.decisions) == decisions
    assert reply.end_ns > reply.start_ns
    for number, record in enumerate(reply.records):
        assert record is not None
        one = read_comparison(record)
        assert (one.transaction_id, one.amount_minor, one.revision, one.source.offset) == (
            f"t-{number}",
            number,
            7,
            number,
        )
        assert (one.live.digest, one.live.score, one.live.decision) == (LIVE, 0.25, Decision.APPROVE)
        assert (one.challenger.score, one.challenger.band) == (plain[number], bands(plain)[number])
        assert one.decision_changed == (decisions[number] is not Decision.APPROVE)


def test_a_challenger_is_compared_with_its_own_rules(repository: Repository) -> None:
    rules = RuleSet(
        (ListRule("stolen", RuleAction.BLOCK, cards=("c-2",)), ListRule("far", RuleAction.REVIEW, countries=("NG",)))
    )
    before = read_artifact(artifact(seed=3))
    manifest = with_policy(before.manifest, Policy(review_at=0.999, decline_at=0.9999), None, rules, None)
    digest = repository.put(write_artifact(msgspec.structs.replace(before, manifest=manifest)))
    server, matrix = new_server(repository), rows(3, seed=1)
    server.answer(Load(digest))
    records = [decided(at, card_id=f"c-{at}") for at in range(3)]
    reply = server.answer(Compare(digest, matrix.shape[1], matrix.tobytes(), tuple(records), ("DE", "NG", None)))
    assert isinstance(reply, CompareResult)
    assert reply.decisions == ("approve", "review", "decline")
    sides = [read_comparison(record or b"") for record in reply.records]
    assert [(one.challenger.decision, one.challenger.said) for one in sides] == [
        ("approve", "approve"),
        ("review", "approve"),
        ("decline", "approve"),
    ]
    assert [one.decision_changed for one in sides] == [False, True, True]


@pytest.mark.parametrize("stated", [{"ruled": "decline"}, {}], ids=["stated", "as versions before wrote it"])
def test_the_side_that_decided_is_compared_after_its_rules_and_before_limits(
    repository: Repository, digest: str, stated: dict[str, str]
) -> None:
    server = new_server(repository)
    server.answer(Load(digest))
    by_rule = decided(0, decision=Decision.DECLINE, overruled={"by": "rule:x", "from": "approve"} | stated)
    let_through = decided(1, overruled={"by": "let_through", "from": "decline"})
    softened = decided(
        2, decision=Decision.REVIEW, overruled={"by": "decline_cap", "from": "approve", "ruled": "decline"}
    )
    reply = server.answer(ask(digest, rows(3, seed=1), [by_rule, let_through, softened]))
    assert isinstance(reply, CompareResult)
    sides = [read_comparison(record or b"").live for record in reply.records]
    assert [(one.decision, one.said) for one in sides] == [
        ("decline", "approve"),
        ("decline", "decline"),
        ("decline", "approve"),
    ]


def test_a_decision_by_the_rules_is_compared_too(repository: Repository, digest: str) -> None:
    server = new_server(repository)
    server.answer(Load(digest))
    reply = server.answer(ask(digest, rows(2), [decided(1, None, Decision.REVIEW), decided(2)]))
    assert isinstance(reply, CompareResult)
    one = read_comparison(reply.records[0] or b"")
    assert (one.live.digest, one.live.score, one.live.band, one.live.decision) == (None, None, None, Decision.REVIEW)
    for record in reply.records:
        jsonschema.validate(msgspec.json.decode(record or b""), json_schema("comparison/1"))


def test_a_failing_row_gets_no_comparison_and_the_others_get_one(repository: Repository, digest: str) -> None:
    matrix = rows(6, seed=1)
    matrix[4, 0] = 666.0

    def fails(model: Model, given: Floats) -> Floats:
        if (given[:, 0] == 666.0).any():
            raise ScoringError("the number of the beast")
        return model.score(given)

    server = new_server(repository, fails)
    server.answer(Load(digest))
    reply = server.answer(ask(digest, matrix, [decided(number) for number in range(6)]))
    assert isinstance(reply, CompareResult)
    assert [record is None for record in reply.records] == [False, False, False, False, True, False]
    assert [score is None for score in reply.scores] == [decision is None for decision in reply.decisions]
    assert reply.why == "the number of the beast"


def test_load_returns_problems_or_loads_a_model_once_and_keep_only_unloads_it(
    repository: Repository, digest: str
) -> None:
    loads: list[str] = []

    def load_counting(name: str) -> Model | tuple[Problem, ...]:
        loads.append(name)
        return load(repository, name, {FINGERPRINT: history_vectors})

    server = ChallengerServer(load_counting, lambda: 0)
    missing = server.answer(Load("e" * 64))
    assert isinstance(missing, Loaded)
    assert (missing.probe_hash, [one.code for one in missing.problems]) == (None, ["missing_artifact"])
    first = server.answer(Load(digest))
    assert isinstance(first, Loaded)
    assert (first.probe_hash is None, first.fingerprint) == (False, FINGERPRINT)
    assert server.answer(Load(digest)) == first
    assert loads == ["e" * 64, digest], "a loaded model was loaded again"
    assert server.answer(KeepOnly((digest,))) is None
    assert server.answer(ask(digest, rows(1), [decided(1)])) is not None
    server.answer(KeepOnly(()))
    with pytest.raises(KeyError):
        server.answer(ask(digest, rows(1), [decided(1)]))


def test_messages_are_decoded_as_they_were_encoded() -> None:
    for request in REQUESTS:
        assert decode_request(encode(request)) == request
    for reply in REPLIES:
        assert decode_reply(encode(reply)) == reply


def test_a_message_that_is_cut_off_or_of_the_other_direction_raises_a_decoding_error() -> None:
    for decode, ours, others in ((decode_request, REQUESTS, REPLIES), (decode_reply, REPLIES, REQUESTS)):
        whole = [encode(message) for message in ours]
        cut_off = [message[:end] for message in whole for end in range(len(message))]
        for noise in (*cut_off, *(encode(message) for message in others)):
            with pytest.raises(FrameError, match="a frame holds no re"):
                decode(noise)


@given(st.binary(max_size=60))
def test_arbitrary_bytes_raise_only_frame_errors(noise: Any) -> None:
    for decode in (decode_request, decode_reply):
        with contextlib.suppress(FrameError):
            decode(noise)


NOT_UTF_8 = b"\x81\xa4type\xa6\xe6oaded"
DEEP = b"\x83\xa4type\xa6Loaded\xaaprobe_hash\xc0\xa1x" + b"\x91" * 100_000 + b"\xc0"


@pytest.mark.parametrize("reply", [NOT_UTF_8, DEEP], ids=["not UTF-8", "nested too deep"])
def test_a_reply_with_text_that_is_not_utf_8_or_nested_too_deep_raises_a_frame_error(reply: bytes) -> None:
    with pytest.raises(FrameError, match="a frame holds no reply"):
        decode_reply(reply)


def test_what_a_canary_decided_is_compared_with_the_live_model_on_the_live_side(
    repository: Repository, digest: str
) -> None:
    """The live model scores it in the shadow; `live` is its side, and the decision is the other."""
    server, matrix = new_server(repository), rows(1, seed=9)
    server.answer(Load(digest))
    record = decided(1, 0.9, Decision.DECLINE, arm="canary")
    reply = server.answer(Compare(digest, matrix.shape[1], matrix.tobytes(), (record,)))
    assert isinstance(reply, CompareResult)
    (made,) = map(read_comparison, filter(None, reply.records))
    assert (made.arm, made.live.digest, made.live.score) == ("canary", digest, reply.scores[0])
    assert (made.challenger.digest, made.challenger.score, made.challenger.decision) == (LIVE, 0.9, Decision.DECLINE)
    assert made.decided == made.challenger
    assert made.decision_changed is (made.live.decision is not Decision.DECLINE)
