"""What a program needs beside a Kafka client to work with fraudstream: its records, which scores count, and the arms.

from fraudstream_client import ValidScores

valid = ValidScores()
for record, score in valid.of(records):
    print(score.transaction_id, score.decision)
"""

from fraudstream_client.arms import CANARY, LIVE, arms_of, bucket
from fraudstream_client.incidents import Incident, IncidentKind, IncidentRule, Severity
from fraudstream_client.inputs import LabelRecord, PredictionRecord, TransactionRecord
from fraudstream_client.outputs import (
    AlertExplanation,
    AlertReason,
    DecidedBy,
    Decision,
    LabelStatus,
    ModelName,
    Outcome,
    Overruled,
    PredictionOutcome,
    PredictionStatus,
    Score,
    Source,
)
from fraudstream_client.validity import Standing, ValidScores, log_and_offset, place_of, trace_of

__all__ = [
    "CANARY",
    "LIVE",
    "AlertExplanation",
    "AlertReason",
    "DecidedBy",
    "Decision",
    "Incident",
    "IncidentKind",
    "IncidentRule",
    "LabelRecord",
    "LabelStatus",
    "ModelName",
    "Outcome",
    "Overruled",
    "PredictionOutcome",
    "PredictionRecord",
    "PredictionStatus",
    "Score",
    "Severity",
    "Source",
    "Standing",
    "TransactionRecord",
    "ValidScores",
    "arms_of",
    "bucket",
    "log_and_offset",
    "place_of",
    "trace_of",
]
