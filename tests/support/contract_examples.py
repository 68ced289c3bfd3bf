"""Examples of every message, made by the code that writes such records; run as a program, this stores them.

The payment is invented. Its features, score, comparison and reasons are computed, by models that tests train.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

sys.path.append(str(Path(__file__).parents[1]))  # run as a program, this has to find `support`
from features.memory_store import MemoryStore
from features.reasons import ReasonTable
from features.vector.sets import Vectors, load_sets
from fraudstream.ops.repair.erasing import CardErasure
from fraudstream.ops.watch.explanations.explain import explain
from fraudstream_client.outputs import (
    LabelStatus,
    Outcome,
    PredictionOutcome,
    PredictionPositions,
    PredictionStatus,
    Score,
    Source,
)
from models.commands import encode
from models.loading import Model
from models.policy import Policy
from models.signing import Role, SealScope
from shadow.comparison import Result, compare, encode_comparison, read_decided
from stream.contract.cloud_events import Headers, ScoreEvents, event_of_incident, headers_of_outcome
from stream.contract.codes import DeadLetterCode
from stream.control.keys import Signer
from stream.control.model_cache import ServingModels
from stream.engine.publisher import Outgoing
from stream.positions.dead_letters import DeadLetter, LetterOrigin
from stream.positions.letters import LETTERS_READ
from stream.scoring.decode import decode
from stream.scoring.encode import Scored, ScoreFrame
from stream.scoring.encode import encode as encode_scores
from stream.scoring.score import score
from stream.scoring.tracing import NoTracing
from stream.settings import Settings
from support.asyncapi import Read
from support.control_events import accepted, command
from support.fleet.payments import label_of, loaded_model, payment, put_model
from support.incident_world import PastReader, begin_at, troubled_past
from support.paths import HOUSE
from support.signing import holder
from support.stream_records import Told

EXAMPLES = HOUSE / "fraudstream" / "contract" / "examples.json"
PAST = 200
"""Payments before the one of the examples."""
NOW_MS = 1_760_000_200_061
AT = "2025-10-09T08:56:40.000Z"
REVIEWS_ALL = Policy(review_at=1e-9, decline_at=0.9)
TRACE = ("traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
SENT = (TRACE, ("correlation-id", b"request-7"))
EPOCH = 1024


def told(number: int, headers: Headers = ()) -> Any:
    """Return a payment as a worker reads it."""
    sent = payment(number)
    key, value = str(sent["card_id"]).encode(), msgspec.json.encode(sent)
    return Told(value, key, offset=number, headers=headers, timestamp=NOW_MS - 61)


def decided(model: Model) -> Scored:
    """Return the decision on the last of some payments."""
    sets = load_sets("")
    store, records = MemoryStore(sets), [told(number) for number in range(PAST)]
    store.observe_now(decode(records, 10**15).columns)
    decoded = decode([told(PAST, SENT)], 10**15)
    observed = store.observe_now(decoded.columns)
    vectors = Vectors(sets, decoded.columns, observed, np.ones(1, np.bool_))
    live = model.fingerprint
    judged = (np.arange(1), {live: vectors.of(live)}, score(ServingModels(1, model, None), vectors))
    names = sets.by_fingerprint[live].names
    frame = ScoreFrame(Settings(), names, live, "0.1.0", 1, {0: EPOCH}, NOW_MS, NoTracing().headers)
    return encode_scores(frame, decoded, observed, judged)


def comparison_of(value: bytes, challenger: Model) -> bytes:
    """Return what a challenger says of a score."""
    fields = msgspec.json.decode(value, type=Score)
    vector = np.array([[np.nan if one is None else one for one in (fields.features or {}).values()]])
    probability = challenger.score(vector)
    decision = challenger.policy.decide(probability)[0]
    result = Result(float(probability[0]), 600, decision, decision)
    return encode_comparison(compare(read_decided(value), challenger.digest, result, NOW_MS + 40))


def outcomes(deciding: Score) -> list[tuple[str, bytes, Headers]]:
    """Return the outcomes of a label and of a prediction."""
    of_label = Outcome(
        deployment="default",
        transaction_id=deciding.transaction_id,
        card_id=deciding.card_id,
        merchant_id=deciding.merchant_id,
        occurred_at=deciding.occurred_at,
        fraud=True,
        labelled_at="2026-01-01T00:00:00.000Z",
        reported_by="analyst",
        positions=deciding.positions,
        status=LabelStatus.APPLIED,
        source=Source("labels", 0, 77),
    )
    of_prediction = PredictionOutcome(
        deployment="default",
        card_id=deciding.card_id,
        name="teacher",
        computed_at=AT,
        positions=PredictionPositions(deciding.positions.history_epoch, 3),
        status=PredictionStatus.APPLIED,
        source=Source("predictions", 0, 12),
    )
    return [
        (name, msgspec.json.encode(one), headers_of_outcome(one, SENT))
        for name, one in (("outcome", of_label), ("predictionOutcome", of_prediction))
    ]


def sealed() -> list[tuple[str, bytes, Headers]]:
    """Return an erasure and a command with the signatures of their senders."""
    ann, eve = holder("ann"), holder("eve", Role.ERASE)
    scope = SealScope("production", "", "default")
    erasure = CardErasure("card-7", NOW_MS, "request-2025-117", "asked for by the customer").value()
    challenge = encode(command("challenge", "c" * 64, reason="trained on September"))
    return [
        ("erasure", erasure, Signer(eve.key_id, eve.key.sign).headers(scope.of_all, erasure)),
        ("command", challenge, (TRACE, *Signer(ann.key_id, ann.key.sign).headers(scope, challenge))),
    ]


def letter() -> Outgoing:
    """Return the dead letter of a payment in an unknown currency."""
    wrong = Told(msgspec.json.encode(payment(PAST, currency="euro")), b"card-7", offset=9, headers=SENT)
    found: Any = wrong
    detail = "currency: expected ISO 4217, alphabetic, got 'euro'"
    return DeadLetter(found, DeadLetterCode.INVALID_FIELD, detail).to_record(LetterOrigin("default", 0, {0: EPOCH}))


def written(folder: str) -> list[tuple[str, bytes | None, Headers]]:
    """Return a record of each message: its value and its headers."""
    live = loaded_model(folder, put_model(folder, policy=REVIEWS_ALL))
    made = decided(live)
    (one,) = made.as_events(ScoreEvents("default"), {0: EPOCH}, 0).outgoing
    value, sent = one.value or b"", payment(PAST)
    deciding = msgspec.json.decode(value, type=Score)
    challenger = loaded_model(folder, put_model(folder, seed=1))
    (explained,) = explain(ReasonTable(), [deciding], {live.digest: live}, NOW_MS + 900)
    prediction = {"card_id": sent["card_id"], "name": "teacher", "value": 0.25, "computed_at": AT, "model": "partner-3"}
    incident = next(one for one in PastReader(troubled_past(1), begin_at()).read_all() if one.amounts)
    incident = msgspec.structs.replace(incident, deployment="default", worker="guard-1")
    dead = letter()
    return [
        ("transaction", msgspec.json.encode(sent), SENT),
        ("label", msgspec.json.encode(label_of(sent)), SENT),
        ("prediction", msgspec.json.encode(prediction), SENT),
        ("score", value, ((LETTERS_READ, b"0"), *one.headers)),
        ("comparison", comparison_of(value, challenger), SENT),
        *outcomes(deciding),
        *sealed(),
        ("event", encode(accepted(2, "challenge", "c" * 64, command_id="c-1")), (TRACE,)),
        ("deadLetter", dead.value, dead.headers),
        ("explanation", msgspec.json.encode(explained.explanation), (TRACE, ("reason-codes", b"1"))),
        ("incident", msgspec.json.encode(incident), event_of_incident(incident).headers()),
    ]


def main() -> None:
    """Store an example of each message."""
    with tempfile.TemporaryDirectory() as folder:
        found = written(folder)
    records = {name: Read.of(Told(value, None, headers=headers)) for name, value, headers in found}
    examples = {name: [{"headers": one.headers, "payload": one.payload}] for name, one in records.items()}
    EXAMPLES.write_text(json.dumps(examples, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
