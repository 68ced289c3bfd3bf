"""All settings, read once from the environment, as one frozen value.

The README's table is generated from the docstrings below. Nothing else reads the environment, but the OpenTelemetry
SDK, whose `OTEL_*` variables are its own.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints
from urllib.parse import parse_qs, quote, urlsplit

import msgspec

from features.redis.topology import is_cluster, seeds
from stream.errors import SettingsError

PREFIX = "FRAUDSTREAM_"
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|min|h|d)?")
_LOGIN = re.compile(r"//.*@|(?<=[?&])(?:username|password)=[^&']*")
_UNDOING = {"ssl_cert_reqs", "ssl_check_hostname"}
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}

_HOST = r"(\[[0-9A-Fa-f:.]+\]|[^\s,:\[\]]+)"
_PORT = r"[0-9]{1,5}"

Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{1,100}(?!\n)$")]
Prefix = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9._-]{0,100}(?!\n)$")]
Skew = Annotated[float, msgspec.Meta(ge=0, le=86_400)]
Watch = Annotated[float, msgspec.Meta(ge=0, le=30 * 86_400)]
Addresses = Annotated[str, msgspec.Meta(pattern=rf"^{_HOST}:{_PORT}(,{_HOST}:{_PORT})*(?!\n)$")]
Address = Annotated[str, msgspec.Meta(pattern=rf"^({_HOST})?:{_PORT}(?!\n)$")]
RedisUrl = Annotated[str, msgspec.Meta(pattern=r"^(rediss?(\+cluster)?|unix)://[^\s]+(?!\n)$")]
Place = Annotated[str, msgspec.Meta(min_length=1)]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a process of fraudstream is told. Each field is the environment's FRAUDSTREAM_<FIELD>."""

    brokers: Addresses = "127.0.0.1:9092"
    """Kafka's bootstrap servers, `host:port,…`."""
    redis_url: RedisUrl = "redis://127.0.0.1:6379/0"
    """Where the histories are: `redis://`, `rediss://`, `unix://`, or a Redis Cluster: `redis+cluster://host:port,…`,
    `rediss+cluster://`."""
    models: Place = "models-repository"
    """The model repository: a folder or an fsspec URL."""
    deployment: Name = "default"
    """Prefixes Redis keys, keys the control topic, names revisions: one for each independent lineup."""
    group: Name = "fraudstream"
    """The consumer group that the workers of a deployment share."""
    topic_prefix: Prefix = ""
    """Put before the name of every topic."""
    http: Address = "127.0.0.1:6066"
    """Where a worker answers `/health/live`, `/health/ready` and `/metrics`."""
    deadline_ms: Annotated[int, msgspec.Meta(gt=0)] = 100
    """A decision later than this after its record's timestamp is counted as a miss."""
    future_skew: Skew = 300.0
    """How far `occurred_at` may be ahead of its record's Kafka timestamp: clocks of terminals drift."""
    cache_mb: Annotated[int, msgspec.Meta(ge=1, le=1_048_576)] = 512
    """How much memory, in MiB, a worker may take to remember histories; what it forgets, it fetches again."""
    redis_down: Literal["wait", "degrade"] = "wait"
    """With Redis away: pause and lose nothing, or decide without histories and say so."""
    features: str = ""
    """A module with a table of feature rows, or the old and the new one while tables change; empty: the default set."""
    score_features: Literal["all", "alerts", "none"] = "all"
    """Which scores carry their features: all, those that are not approved, or none."""
    session_timeout: Seconds = 10.0
    """A worker silent for so long is taken for dead and its partitions move."""
    drain_seconds: Seconds = 20.0
    """After SIGTERM, or when partitions are taken away, a batch in work may take so long; then the process ends."""
    poll_records: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 512
    """The most records in one batch, over all partitions; bounds how long a synchronous step takes."""
    fetch_wait_ms: Annotated[int, msgspec.Meta(ge=1, le=500)] = 20
    """The longest a fetch waits for data: a partition left out of it waits as long."""
    commit_interval: Seconds = 1.0
    """How often offsets are committed; how much a new owner reads again, not how much is decided again."""
    kafka_idempotence: bool = True
    """Have the broker drop a producer's own retries; off only for brokers that cannot (the demo's)."""
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """How to speak to the brokers."""
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """With a SASL protocol: how to log in."""
    kafka_sasl_username: str = ""
    """With a SASL protocol: who logs in."""
    kafka_sasl_password: str = ""
    """With a SASL protocol: the password. Never logged."""
    kafka_ssl_cafile: str = ""
    """The PEM file of the authorities that may have signed the brokers' certificates; empty: the system's."""
    kafka_ssl_certfile: str = ""
    """For mutual TLS: our certificate's PEM file, with the authorities between it and the root."""
    kafka_ssl_keyfile: str = ""
    """For mutual TLS: its private key's PEM file, not encrypted; empty: the key is in the certificate's file."""
    redis_cafile: str = ""
    """With `rediss://` and `rediss+cluster://`: a PEM file of authorities that are trusted besides the system's."""
    watch: Watch = 3600.0
    """How long after a promotion the model that was live stays as challenger, so that the switch is watched; 0: not."""
    shadow_queue: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 4096
    """How many decisions may wait for the challenger; what does not fit is skipped and counted."""
    shadow_timeout: Seconds = 10.0
    """A challenger that has not answered for so long is taken for dead, and its process is ended and started anew."""
    shadow_memory_mb: Annotated[int, msgspec.Meta(ge=256, le=1_048_576)] = 1024
    """How much private memory, in MiB, the challenger's process may take."""
    worker_id: Prefix = ""
    """What events call this worker; empty: host and process id."""

    actor: str = ""
    """Who sends a command, as it is kept with it; empty: the login name."""

    def topic(self, name: str) -> str:
        """Return a topic's full name."""
        return f"{self.topic_prefix}{name}"

    def __repr__(self) -> str:
        fields = msgspec.structs.asdict(self).items()
        return f"Settings({', '.join(f'{name}={_shown(name, value)}' for name, value in fields)})"


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read all settings.

    Raises:
        SettingsError: names every variable that cannot be used, what it holds and what is expected.
    """
    values: dict[str, Any] = {}
    problems: list[str] = []
    for name, kind in get_type_hints(Settings, include_extras=True).items():
        text = environment.get(PREFIX + name.upper())
        if text is None:
            continue
        try:
            values[name] = msgspec.convert(
                read_seconds(text) if kind in (Seconds, Skew, Watch) else text, kind, strict=False
            )
        except msgspec.ValidationError as error:
            expected = f"Expected one of {', '.join(get_args(kind))}" if get_origin(kind) is Literal else error
            problems.append(f"{PREFIX}{name.upper()}: {expected}, got {_shown(name, text)}")
    settings = Settings(**values)
    problems += [*_login_problems(settings), *_tls_problems(settings), *_redis_problems(settings)]
    if problems:
        raise SettingsError("\n".join(problems))
    return msgspec.structs.replace(settings, redis_url=_trusting(settings.redis_url, settings.redis_cafile))


def _login_problems(settings: Settings) -> Iterator[str]:
    """Say what is missing of a login that the security protocol asks for, or what is there and would do nothing."""
    protocol = settings.kafka_security_protocol
    for name in ("kafka_sasl_username", "kafka_sasl_password"):
        given = bool(getattr(settings, name))
        if protocol.startswith("SASL") and not given:
            yield f"{PREFIX}{name.upper()}: needed with {protocol}, is empty"
        if given and not protocol.startswith("SASL"):
            yield _idle(name, f"KAFKA_SECURITY_PROTOCOL={protocol}", "SASL_SSL")


def _tls_problems(settings: Settings) -> Iterator[str]:
    """Say what of Kafka's TLS would do nothing: who sets a file means to be protected by it."""
    protocol = settings.kafka_security_protocol
    for name in ("kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile"):
        if getattr(settings, name) and not protocol.endswith("SSL"):
            yield _idle(name, f"KAFKA_SECURITY_PROTOCOL={protocol}", "SSL or SASL_SSL")
    if settings.kafka_ssl_keyfile and not settings.kafka_ssl_certfile:
        yield f"{PREFIX}KAFKA_SSL_KEYFILE: needs {PREFIX}KAFKA_SSL_CERTFILE beside it, which is empty"


def _redis_problems(settings: Settings) -> Iterator[str]:
    """Say what of Redis's TLS would do nothing, or would undo it."""
    try:
        redis = urlsplit(settings.redis_url)
        _ = seeds(settings.redis_url) if is_cluster(settings.redis_url) else redis.port
    except ValueError as error:
        yield f"{PREFIX}REDIS_URL: {error}"
        return
    encrypted = redis.scheme.startswith("rediss")
    options = parse_qs(redis.query).keys()
    if settings.redis_cafile and not encrypted:
        yield _idle("redis_cafile", f"a {PREFIX}REDIS_URL of {redis.scheme}://", "rediss://")
    if not encrypted and any(option.startswith("ssl_") for option in options):
        yield f"{PREFIX}REDIS_URL: has options of TLS, but begins with {redis.scheme}://; use rediss://"
    for option in sorted(options & _UNDOING):
        yield f"{PREFIX}REDIS_URL: {option} would leave the server's certificate unchecked; take it out"


def _idle(name: str, with_what: str, instead: str) -> str:
    """Say that a setting has no effect beside another."""
    return f"{PREFIX}{name.upper()}: is set, but does nothing with {with_what}; use {instead}, or leave it empty"


def _trusting(url: str, cafile: str) -> str:
    """Write the authorities' file into a Redis URL, where every client of it will find it."""
    if not cafile:
        return url
    return f"{url}{'&' if urlsplit(url).query else '?'}ssl_ca_certs={quote(cafile)}"


def _shown(name: str, value: object) -> str:
    """Write a setting for people: no password, and no login that is part of a URL."""
    if "password" in name:
        return "…"
    return _LOGIN.sub(lambda login: "//…@" if login[0].startswith("//") else "…", repr(value))


def read_seconds(text: str) -> float | str:
    """Read a duration such as `20`, `500 ms` or `5 min`; seconds where no unit is given."""
    match = _DURATION.fullmatch(text.strip())
    return float(match[1]) * _SECONDS[match[2] or "s"] if match else text
