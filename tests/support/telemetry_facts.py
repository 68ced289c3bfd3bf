"""Facts for tests of telemetry: results of batches of payments, made without a pipeline."""

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from fraudstream_client.outputs import DecidedBy, Decision, LabelStatus, ModelName, Overruled, PredictionStatus
from stream.clock import Stage
from stream.contract.codes import DeadLetterCode
from stream.contract.transaction import Transaction
from stream.engine.publisher import Outgoing
from stream.positions.dead_letters import DeadLetter
from stream.scoring.decode import AttributeCounts
from stream.scoring.encode import Judgement, Scored
from stream.scoring.facts import (
    AlertsExplained,
    Compared,
    Decided,
    ExplanationOutcome,
    Fact,
    LabelsApplied,
    LateLetters,
    LossFound,
    Missed,
    PredictionsApplied,
    Reapplied,
    Retried,
    VoidFound,
)
from support.stream_records import PAYMENT, Told

BEGAN_NS = 1_769_860_800_000_000_000
DIGEST = "d" * 64
VERBS = ("decode", "observe", "vectorise", "score", "encode", "publish")
MODEL = ModelName("cards", "2026-01", DIGEST)
CAPPED = Overruled("decline_cap", Decision.DECLINE)
PASSED = Overruled("let_through", Decision.DECLINE)


def stages(names: Sequence[str] = VERBS, each_ns: int = 2_000_000) -> list[Stage]:
    return [Stage(name, BEGAN_NS + at * each_ns, BEGAN_NS + (at + 1) * each_ns) for at, name in enumerate(names)]


def scored(records: Sequence[Any], latencies_ms: Sequence[int] | None = None, **changes: Any) -> Scored:
    """Make the result of a batch in which each record is a payment that was decided."""
    count = len(records)
    fields = {"decision": Decision.APPROVE, "decided_by": DecidedBy.MODEL, "degraded": ()} | changes
    judgement = Judgement(0.25, 500, model=MODEL, **fields)
    transaction = msgspec.convert(PAYMENT, Transaction)
    return Scored(
        records,
        [transaction] * count,
        [()] * count,
        np.zeros((count, 3)),
        [judgement] * count,
        [20] * count if latencies_ms is None else latencies_ms,
        [Outgoing(one.offset, one.key, b"{}", ()) for one in records],
    )


def decided(what: Scored, dead: Sequence[DeadLetter] = (), **changes: Any) -> Decided:
    fields = {"repeated": 0, "unknown": 0, "stages": stages(), "revision": 7, "digest": DIGEST} | changes
    return Decided(what, dead, **fields)


def one_of_each(prefix: str = "") -> list[Fact]:
    """Return facts that touch every counter and histogram."""
    record = Told(topic=f"{prefix}transactions")
    late = scored([record], [5_000], degraded=("history_incomplete",), overruled=CAPPED)
    late = Scored(late.records, late.transactions, [("mcc",)], *[getattr(late, name) for name in _LAST])
    passed = scored([record], overruled=PASSED, propensity=0.005)
    dead = DeadLetter(record, DeadLetterCode.NOT_JSON, "why")
    return [
        decided(late, [dead], repeated=1, unknown=1, already_decided=1, already_refused=1, backfilled=1, erasures=1),
        decided(passed, attributes=AttributeCounts({"ip_country": 1}, {"ip_city": 1})),
        LabelsApplied([Told()], [LabelStatus.APPLIED], [], 1, stages(("decode", "observe", "encode", "publish"))),
        PredictionsApplied([Told()], [PredictionStatus.LATE], [], 1, stages(("decode", "observe", "publish"))),
        Retried(f"{prefix}transactions", "StoreUnavailableError"),
        LossFound(f"{prefix}transactions", 0, 60),
        VoidFound(0, 3),
        LateLetters(0, 2),
        Compared(DIGEST, [0.25], [Decision.APPROVE], [Decision.DECLINE], [1250], ["EUR"]),
        Missed(DIGEST, "skipped", 2),
        AlertsExplained([ExplanationOutcome.EXPLAINED, ExplanationOutcome.BY_RULES], [40, 60]),
        Reapplied("transactions", 2),
        Reapplied("labels", 1),
    ]


_LAST = ("vectors", "judgements", "latencies_ms", "outgoing")
