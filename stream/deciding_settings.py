"""Which settings can change a decision, and the hash of these that each score carries.

A setting that says where something is, how much at a time, or how long to wait cannot: what a payment saw of the
histories depends on timing anyway, and is on its score by `positions`. The lineup can, and is on the score by
`deployment` and `revision`.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from stream.settings import PREFIX, Settings


class Effect(NamedTuple):
    """Whether a setting can change a decision, and why."""

    decides: bool
    why: str


def _decides(why: str) -> Effect:
    return Effect(decides=True, why=why)


def _not(why: str) -> Effect:
    return Effect(decides=False, why=why)


_PLACE = _not("where something is; what is read there is on the score, or on the topics")
_LINEUP = _not("its effect is in the lineup, which is on the score by deployment and revision")
_COMMANDS = _not("which commands count is said by verdicts on model-events, and is on the score by revision")
_LOADING = _not("a worker that lacks a model that decides waits; which model decided is on the score")
_AMOUNT = _not("how much at a time; what a payment saw of the histories is on its score by positions")
_PAUSE = _not("how long something may take, or how often it is done")
_CONNECTION = _not("how the servers are reached")
_SHADOW = _not("comparisons; a challenger decides nothing")
_NAME = _not("a name of the process")
_GUARD = _not("a guard's messages")
_RECORDED = _not("what is recorded of a decision")

EFFECTS: Mapping[str, Effect] = MappingProxyType(
    {
        "brokers": _PLACE,
        "redis_url": _not("where the histories are; which of their records a payment saw is on its score by positions"),
        "models": _LOADING,
        "snapshots": _COMMANDS,
        "snapshots_options_file": _COMMANDS,
        "snapshot_key_file": _COMMANDS,
        "hash_key_file": _not("how ids are hashed; a worker with another key than its deployment decides nothing"),
        "deployment": _LINEUP,
        "group": _NAME,
        "group_instance": _NAME,
        "topic_prefix": _PLACE,
        "estate": _COMMANDS,
        "http": _PLACE,
        "deadline_ms": _not("what counts as late; a late decision is the same"),
        "future_skew": _decides("how far ahead a payment may be before it is refused"),
        "id_shapes": _decides("which ids are refused since they are card numbers"),
        "cache_mb": _AMOUNT,
        "batch_mb": _AMOUNT,
        "redis_down": _decides("whether payments are decided without histories while Redis is down"),
        "features": _decides("what the models see; the sets themselves are on the score by fingerprint"),
        "score_features": _RECORDED,
        "dead_letter_values": _RECORDED,
        "mark_young_history": _RECORDED,
        "cloud_events": _RECORDED,
        "session_timeout": _PAUSE,
        "drain_seconds": _PAUSE,
        "poll_records": _AMOUNT,
        "fetch_wait_ms": _PAUSE,
        "commit_interval": _PAUSE,
        "compression": _CONNECTION,
        "kafka_idempotence": _CONNECTION,
        "kafka_security_protocol": _CONNECTION,
        "kafka_sasl_mechanism": _CONNECTION,
        "kafka_sasl_username": _CONNECTION,
        "kafka_sasl_password": _CONNECTION,
        "kafka_sasl_kerberos_service": _CONNECTION,
        "kafka_sasl_kerberos_domain": _CONNECTION,
        "kafka_oauth_token_endpoint": _CONNECTION,
        "kafka_oauth_client_id": _CONNECTION,
        "kafka_oauth_client_secret": _CONNECTION,
        "kafka_oauth_client_secret_file": _CONNECTION,
        "kafka_oauth_scope": _CONNECTION,
        "kafka_oauth_audience": _CONNECTION,
        "kafka_oauth_cafile": _CONNECTION,
        "kafka_oauth_token_file": _CONNECTION,
        "kafka_oauth_aws_region": _CONNECTION,
        "kafka_oauth_extensions": _CONNECTION,
        "kafka_ssl_cafile": _CONNECTION,
        "kafka_ssl_certfile": _CONNECTION,
        "kafka_ssl_keyfile": _CONNECTION,
        "redis_cafile": _CONNECTION,
        "redis_password_file": _CONNECTION,
        "watch": _LINEUP,
        "shadow_queue": _SHADOW,
        "shadow_timeout": _SHADOW,
        "shadow_memory_mb": _SHADOW,
        "worker_id": _NAME,
        "log_level": _not("what is logged"),
        "log_format": _not("what is logged"),
        "incident_webhook": _GUARD,
        "incident_secret": _GUARD,
        "incident_secret_file": _GUARD,
        "actor": _not("who sends a command"),
        "command_keys": _COMMANDS,
        "two_persons": _COMMANDS,
        "signing_key": _COMMANDS,
        "model_keys": _LOADING,
    }
)
"""What each setting can do. A test walks all settings."""


class DecidingSettings(NamedTuple):
    """The settings of a process that can change a decision: their sorted `name=value` lines, and the hash of these."""

    hash: str
    lines: tuple[str, ...]


def deciding_settings(settings: Settings) -> DecidingSettings:
    """Return those of some settings; none of them is a secret."""
    values = msgspec.structs.asdict(settings)
    values["future_skew"] = round(settings.future_skew * 1000) / 1000
    values["features"] = ",".join(one.strip() for one in settings.features.split(","))
    named = (f"{PREFIX}{name.upper()}={_text(values[name])}" for name, effect in EFFECTS.items() if effect.decides)
    lines = tuple(sorted(named))
    return DecidingSettings(hash_of(lines), lines)


def hash_of(lines: Iterable[str]) -> str:
    """Return the first 4 bytes of the SHA-256 over the sorted lines, with a newline between two, in hexadecimal."""
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:8]


def differing(lines: Mapping[str, Sequence[str]]) -> dict[str, dict[str, list[str]]]:
    """Return the settings in which processes differ: by setting and value, who has it; `lines` are by process.

    One that does not state a setting is of a version that had none: its value is `not stated`.
    """
    stated = {name: dict(line.partition("=")[::2] for line in some) for name, some in lines.items()}
    found: dict[str, dict[str, list[str]]] = {}
    for setting in sorted({setting for values in stated.values() for setting in values}):
        holders: dict[str, list[str]] = {}
        for name, values in sorted(stated.items()):
            holders.setdefault(values.get(setting, NOT_STATED), []).append(name)
        if len(holders) > 1:
            found[setting] = dict(sorted(holders.items()))
    return found


NOT_STATED = "not stated"


def _text(value: object) -> str:
    """Return a value so that equal ones are equal texts: 300 for 5 min, true for a switch that is on."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
