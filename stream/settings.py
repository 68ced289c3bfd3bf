"""All settings, read once from the environment into one frozen value.

The settings table in the documentation is generated from the docstrings below. Only the OpenTelemetry SDK reads other
variables of the environment, its own `OTEL_*`.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal, get_type_hints
from urllib.parse import SplitResult, parse_qs, quote, urlsplit

import msgspec

from features.redis.urls import first_host
from models.expected import EXPECTED, expected, text_like
from models.logins import SHORTEST_SECRET, secrets_in, without_logins
from stream.errors import SettingsError
from stream.id_rules import read_shapes
from stream.logs import Form, Level

PREFIX = "FRAUDSTREAM_"
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|min|h|d)?")
_REDIS_SECRETS = ("password", "sentinel_password")
_INSECURE_OPTIONS = {"ssl_cert_reqs", "ssl_check_hostname"}
_ALIKE = 0.8
"""How much of two names must be the same for one to be taken for a misspelling of the other, from 0 to 1."""
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0, "d": 86_400.0}

_HOST = r"(\[[0-9A-Fa-f:.]+\]|[^\s,:\[\]]+)"
_PORT = r"0*([0-9]{1,4}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_LETTERS = "letters, digits, . _ -"
SIGNING_FORM = "whsec_ and the base64 of 24 to 64 bytes, as of `openssl rand -base64 32`"


def _duration(limits: str) -> dict[str, str]:
    """Return what a duration's annotation has in words."""
    return {EXPECTED: f"a duration such as 20, 500 ms or 5 min, {limits}"}


Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400, extra=_duration("above 0, at most 1 d"))]
Skew = Annotated[float, msgspec.Meta(ge=0, le=86_400, extra=_duration("0 or more, at most 1 d"))]
Watch = Annotated[float, msgspec.Meta(ge=0, le=30 * 86_400, extra=_duration("0 or more, at most 30 d"))]
Name = Annotated[str, text_like(r"^[A-Za-z0-9._-]{1,64}$", f"1 to 64 {_LETTERS}")]
OptionalName = Annotated[str, text_like(r"^[A-Za-z0-9._-]{0,64}$", f"at most 64 {_LETTERS}")]
Prefix = Annotated[str, text_like(r"^[A-Za-z0-9._-]{0,100}$", f"at most 100 {_LETTERS}")]
Addresses = Annotated[str, text_like(rf"^{_HOST}:{_PORT}(,{_HOST}:{_PORT})*$", "host:port,host:port,… without spaces")]
Address = Annotated[str, text_like(rf"^({_HOST})?:{_PORT}$", "host:port, or :port for all interfaces")]
RedisUrl = Annotated[
    str,
    text_like(
        r"^(rediss?(\+(cluster|sentinel))?|unix)://[^\s]+$",
        "a URL without spaces that begins with redis://, rediss://, redis+cluster://, rediss+cluster://, "
        "redis+sentinel://, rediss+sentinel:// or unix://",
    ),
]
Compression = Literal["none", "gzip", "lz4", "snappy", "zstd"]
WebhookUrl = Annotated[
    str,
    text_like(r"^(https?://[^\s/?#]+([/?#][^\s]*)?)?$", "a URL that begins with https:// or http://, without spaces"),
]
WebhookSecret = Annotated[
    str, text_like(r"^(whsec_([A-Za-z0-9+/]{4}){8,21}([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?)?$", SIGNING_FORM)
]
Author = Annotated[str, msgspec.Meta(max_length=200)]
Place = Annotated[str, msgspec.Meta(min_length=1)]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a process. Each field is read from the environment variable FRAUDSTREAM_<FIELD>."""

    brokers: Addresses = "127.0.0.1:9092"
    """Kafka's bootstrap servers, `host:port,…`."""
    redis_url: RedisUrl = "redis://127.0.0.1:6379/0"
    """The Redis that holds the histories: `redis://`, `rediss://`, `unix://`; for a Redis Cluster
    `redis+cluster://host:port,…`, `rediss+cluster://`; for the master that Redis Sentinel knows by a name
    `redis+sentinel://host:port,…/name/0`, `rediss+sentinel://`."""
    models: Place = "models-repository"
    """The model repository: a folder or an fsspec URL."""
    snapshots: str = ""
    """Where the judge keeps its snapshot of the control log: a folder or an fsspec URL, which may have a login of its
    own; empty: the folder `control` of the model repository."""
    snapshots_options_file: str = ""
    """With `FRAUDSTREAM_SNAPSHOTS`: a JSON file of options for its file system (fsspec's `storage_options`), such as a
    credential that is not that of the model repository."""
    hash_key_file: str = ""
    """A file with the key by which ids of cards, merchants and devices are hashed in Redis, and the cards that a split
    leaves out: a line of at least 32 bytes in hexadecimal or base64, the same for all workers of the deployment, for
    its guard, for `features rebuild`, and for whoever starts a split with `--exclude` or reads of one. Empty: without a
    key, so that whoever reads Redis can try all ids of a small space, and excluded cards stay on the topics by their
    ids. A deployment that has histories gets a key by another one that takes over."""
    snapshot_key_file: str = ""
    """A file with the key that seals the snapshot of the control log: a line of at least 32 bytes in hexadecimal or
    base64. A second line is a key that is still accepted. With keys, or with `FRAUDSTREAM_COMMAND_KEYS`, only a
    snapshot that one of them has sealed is used; `fraudstream model restore` needs it, too."""
    deployment: Name = "default"
    """The deployment's name, for each independent lineup: prefixes its Redis keys, and keys its control records."""
    group: Prefix = ""
    """The consumer group that the workers of a deployment share; empty: `fraudstream-<deployment>`. No worker of
    another deployment may be in it, and a deployment has one group."""
    group_instance: OptionalName = ""
    """A name of the worker in its group that it keeps over restarts (`group.instance.id`), each worker its own; empty:
    none. A restart within the session timeout then moves no partition, but a worker that is stopped and does not come
    back leaves its partitions without decisions for that long."""
    topic_prefix: Prefix = ""
    """A prefix for the name of every topic."""
    estate: OptionalName = ""
    """What tells this installation from others that share its keys or its model repository, such as `production` and
    `staging`; empty: the id of the Kafka cluster. Signatures of commands count within it, and the snapshot of the
    control log is named by it: set one name where a cluster is moved, or mirrored to take over."""
    http: Address = "127.0.0.1:6066"
    """The address on which a worker serves `/health/live`, `/health/ready` and `/metrics`."""
    deadline_ms: Annotated[int, msgspec.Meta(gt=0)] = 100
    """A decision later than this after its record's timestamp counts as a missed deadline."""
    future_skew: Skew = 300.0
    """How far `occurred_at` may be ahead of its record's Kafka timestamp, since terminals' clocks drift."""
    id_shapes: str = ""
    """The shapes of your ids, `FIELD=SHAPE` separated by commas, for `card_id`, `merchant_id`, `account_id`,
    `customer_id` and `device_id`: `uuid`, `hex32`, `hex64`, `ulid`, `base32`, `prefixed:TEXT` or `digits:N`. An id of a
    declared shape is accepted, even where the whole of it could be a card number; a field may have several. Network
    tokens of 16 digits need `card_id=digits:16`."""
    cache_mb: Annotated[int, msgspec.Meta(ge=1, le=1_048_576)] = 512
    """The size limit of a worker's cache of histories, in MiB; evicted histories are read from Redis again."""
    batch_mb: Annotated[int, msgspec.Meta(ge=1, le=1_048_576)] = 64
    """The size limit of the histories that payments see together, in MiB; a batch beyond it is decided in parts. What
    payments share counts once. A worker needs about 400 MiB, the cache and 6 times this."""
    redis_down: Literal["wait", "degrade"] = "wait"
    """While Redis is unavailable: `wait` pauses decisions, `degrade` decides without Redis and marks the decisions."""
    features: str = ""
    """A module with a table of feature rows, or the old and the new one during a change; empty: the default sets."""
    score_features: Literal["all", "alerts", "none"] = "all"
    """Which scores carry their features: all, those that are not approved, or none."""
    dead_letter_values: Literal["none", "redacted"] = "none"
    """What a dead letter keeps of its record: `none` keeps where it is, why it was refused, its transaction and its
    amount, and the commands read the rest at its place; `redacted` keeps key and value, too, without card
    numbers."""
    mark_young_history: bool = False
    """Mark the decisions (`degraded`, `history_young`) that were made while the histories go back less far than the
    features look, as in a deployment's first weeks."""
    cloud_events: bool = False
    """Write scores, outcomes and incidents as CloudEvents 1.0 in binary mode: headers `ce_…` and `content-type` beside
    the record, which stays as it is. Set it for workers and guards alike."""
    session_timeout: Seconds = 10.0
    """A worker without heartbeats for this long leaves the group, and its partitions move."""
    drain_seconds: Seconds = 20.0
    """How long a batch in progress may take after SIGTERM or a revocation of partitions; then the process ends."""
    poll_records: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 512
    """The maximum number of records in a batch, over all partitions; limits how long a synchronous step takes."""
    fetch_wait_ms: Annotated[int, msgspec.Meta(ge=1, le=500)] = 20
    """How long a fetch waits for data at most; a partition that is not in the fetch waits as long. Where nothing has
    come for 5 s, it is 200 ms at least."""
    commit_interval: Seconds = 1.0
    """How often offsets are committed, and copied to Redis; affects how much a new owner reads again."""
    compression: Compression = "zstd"
    """The codec of everything that is written to Kafka, batch by batch: `none`, `gzip`, `lz4`, `snappy` or `zstd`. All
    that read the topics need it; some Kafka clients and services have `gzip` only."""
    kafka_idempotence: bool = True
    """Use idempotent producers; turn it off only for brokers that do not support them, as the demo's."""
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """The security protocol of the brokers."""
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    """With a SASL protocol: the mechanism."""
    kafka_sasl_username: str = ""
    """With a SASL protocol: the user name."""
    kafka_sasl_password: str = ""
    """With a SASL protocol: the password. Never logged."""
    kafka_ssl_cafile: str = ""
    """A PEM file of the authorities that are trusted to sign the brokers' certificates; empty: the system's."""
    kafka_ssl_certfile: str = ""
    """For mutual TLS: the PEM file of the client certificate, with its intermediate authorities."""
    kafka_ssl_keyfile: str = ""
    """For mutual TLS: the PEM file of its private key, not encrypted; empty: the key is in the certificate's file."""
    redis_cafile: str = ""
    """With a URL that begins with `rediss`: a PEM file of authorities that are trusted besides the system's."""
    watch: Watch = 3600.0
    """How long a promotion keeps the previous live model as challenger, to watch the switch; 0: not at all."""
    shadow_queue: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 4096
    """The maximum number of decisions queued for the challenger; those that do not fit are skipped and counted."""
    shadow_timeout: Seconds = 10.0
    """If the challenger's process does not answer for this long, it is killed and restarted."""
    shadow_memory_mb: Annotated[int, msgspec.Meta(ge=256, le=1_048_576)] = 1024
    """The limit of the challenger's private memory, in MiB."""
    worker_id: OptionalName = ""
    """The worker's name in events; empty: `FRAUDSTREAM_GROUP_INSTANCE`, or host and process id."""
    log_level: Level = "info"
    """The level from which on a worker logs: `debug`, `info`, `warning` or `error`. What libraries log is left out
    below `warning`; with `debug`, it is shown from INFO on."""
    log_format: Form = "text"
    """The form of a worker's log, on standard error: `text`, or `json` for one JSON object a line."""
    incident_webhook: WebhookUrl = ""
    """For a guard: the URL to which incidents are posted, as CloudEvents 1.0; empty: they are on the topic `incidents`
    alone."""
    incident_secret: WebhookSecret = ""
    """With `FRAUDSTREAM_INCIDENT_WEBHOOK`: the key that signs what is posted (Standard Webhooks, HMAC-SHA256), `whsec_`
    and base64; empty: it is not signed. Never logged."""
    incident_secret_file: str = ""
    """A file that holds that key, in place of `FRAUDSTREAM_INCIDENT_SECRET`."""
    actor: Author = ""
    """The author that is recorded with a command; empty: the login name. A guard acts as `guard@HOST`, whatever this
    says, unless it signs."""
    command_keys: str = ""
    """For workers: a TOML file of the public keys that may sign commands, and what each may do; empty: commands need no
    signature. All workers of a deployment need the same keys."""
    two_persons: bool = False
    """With `FRAUDSTREAM_COMMAND_KEYS`: a `promote`, a `rollout` and a `roll_back` to a time count only when another
    person has countersigned them. Where commands are sent from, it lets them wait for that, 10 minutes by default."""
    signing_key: str = ""
    """Where commands are sent from: a PEM file of the Ed25519 private key that signs them; empty: they are not
    signed."""
    model_keys: str = ""
    """Wherever models are loaded: a TOML file of public keys. Only models that one of those with the role `model` has
    signed are loaded; empty: models need no signature. It may be the file of `FRAUDSTREAM_COMMAND_KEYS`."""

    def topic(self, name: str) -> str:
        """Return a topic's full name."""
        return f"{self.topic_prefix}{name}"

    def secrets(self) -> frozenset[str]:
        """Return the passwords and keys in these settings, to be removed from texts that may quote them."""
        logins = {self.kafka_sasl_password} | secrets_in(self.redis_url, _REDIS_SECRETS) | secrets_in(self.models)
        logins |= secrets_in(self.snapshots)
        webhook = {self.incident_secret, _behind_host(self.incident_webhook)} | secrets_in(self.incident_webhook)
        return frozenset(secret for secret in logins | webhook if len(secret) >= SHORTEST_SECRET)

    def __repr__(self) -> str:
        fields = msgspec.structs.asdict(self).items()
        return f"Settings({', '.join(f'{name}={_shown(name, value)}' for name, value in fields)})"

    def shown(self) -> dict[str, str]:
        """Return all variables with their values as texts, without passwords and without logins and keys in URLs."""
        fields = msgspec.structs.asdict(self).items()
        return {f"{PREFIX}{name.upper()}": _shown(name, value).strip("'") for name, value in fields}

    def __post_init__(self) -> None:
        """Derive the group's name from the deployment's, unless it is set."""
        if not self.group:
            msgspec.structs.force_setattr(self, "group", f"fraudstream-{self.deployment}")


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
            values[name] = msgspec.convert(_read_text(text, kind), kind, strict=False)
        except msgspec.ValidationError:
            problems.append(f"{PREFIX}{name.upper()}: {_refusal(name, kind, text)}")
    settings = Settings(**values)
    problems += [*_login_problems(settings), *_tls_problems(settings), *_redis_problems(settings)]
    problems += [*_name_problems(settings), *_webhook_problems(settings), *_id_problems(settings)]
    if problems:
        raise SettingsError("\n".join(problems))
    return msgspec.structs.replace(settings, redis_url=_with_cafile(settings.redis_url, settings.redis_cafile))


def near_misses(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return a line for each variable that is no setting, but has nearly the name of one: it has no effect.

    A variable with our prefix and another name may belong to another program (Kubernetes sets `FRAUDSTREAM_PORT` for a
    service of this name), so it is no problem. No line holds a value.
    """
    settings = {field.name.upper() for field in msgspec.structs.fields(Settings)}
    found = []
    for variable in sorted(environment):
        name = variable[len(PREFIX) :].upper()
        known = variable.startswith(PREFIX) and variable[len(PREFIX) :] in settings
        if variable.upper().startswith(PREFIX) and not known and (near := _nearest(name, settings)):
            meant = " or ".join(f"{PREFIX}{one}" for one in near)
            found.append(f"{variable} is no setting and has no effect; did you mean {meant}?")
    return tuple(found)


def _nearest(name: str, settings: Collection[str]) -> list[str]:
    """Return the settings with nearly this name: a few letters differ, or one word is missing or too many."""
    words = set(name.split("_"))
    spelled = get_close_matches(name, sorted(settings), 1, _ALIKE)
    return spelled or [one for one in sorted(settings) if len(words ^ set(one.split("_"))) == 1]


def _refusal(name: str, kind: object, text: str) -> str:
    """Return why a value cannot be used: what is expected, what is given and by what, and what holds without it."""
    (default,) = (field.default for field in msgspec.structs.fields(Settings) if field.name == name)
    shown = f"{default:g} s" if isinstance(default, float) else str(default)
    without = f"; unset, it is {shown}" if shown else ""
    return f"expected {expected(kind)}, got {_shown(name, text)} from the environment{without}"


def _login_problems(settings: Settings) -> Iterator[str]:
    """Yield which SASL settings are missing for the security protocol, or have no effect with it."""
    protocol = settings.kafka_security_protocol
    for name in ("kafka_sasl_username", "kafka_sasl_password"):
        given = bool(getattr(settings, name))
        if protocol.startswith("SASL") and not given:
            yield f"{PREFIX}{name.upper()}: needed with {protocol}, but is empty"
        if given and not protocol.startswith("SASL"):
            yield _no_effect(name, f"KAFKA_SECURITY_PROTOCOL={protocol}", "SASL_SSL")


def _tls_problems(settings: Settings) -> Iterator[str]:
    """Yield which TLS settings of Kafka have no effect: a set file shows that protection is expected."""
    protocol = settings.kafka_security_protocol
    for name in ("kafka_ssl_cafile", "kafka_ssl_certfile", "kafka_ssl_keyfile"):
        if getattr(settings, name) and not protocol.endswith("SSL"):
            yield _no_effect(name, f"KAFKA_SECURITY_PROTOCOL={protocol}", "SSL or SASL_SSL")
    if settings.kafka_ssl_keyfile and not settings.kafka_ssl_certfile:
        yield f"{PREFIX}KAFKA_SSL_KEYFILE: needs {PREFIX}KAFKA_SSL_CERTFILE as well, which is empty"


def _redis_problems(settings: Settings) -> Iterator[str]:
    """Yield which TLS settings of Redis have no effect, or disable verification."""
    try:
        redis = urlsplit(settings.redis_url)
        if _is_cut_login(redis):
            yield f"{PREFIX}REDIS_URL: write / ? and # in a user or password as %2F, %3F and %23"
            return
        first_host(settings.redis_url)
    except ValueError as error:
        yield f"{PREFIX}REDIS_URL: {error}"
        return
    encrypted = redis.scheme.startswith("rediss")
    options = parse_qs(redis.query).keys()
    if settings.redis_cafile and not encrypted:
        yield _no_effect("redis_cafile", f"a {PREFIX}REDIS_URL of {redis.scheme}://", "rediss://")
    if not encrypted and any(option.startswith("ssl_") for option in options):
        yield f"{PREFIX}REDIS_URL: has TLS options, but begins with {redis.scheme}://; use rediss://"
    for option in sorted(options & _INSECURE_OPTIONS):
        yield f"{PREFIX}REDIS_URL: {option} would disable verification of the server's certificate; remove it"


def _is_cut_login(url: SplitResult) -> bool:
    """Tell whether a character of the login ended the URL's host: a message about the host would quote the login."""
    if not url.netloc or "@" in url.netloc:
        return False
    port = url.netloc.rpartition(":")[2]
    return "@" in url.path or ("@" in url.query + url.fragment and ":" in url.netloc and not port.isdecimal())


def _name_problems(settings: Settings) -> Iterator[str]:
    """Yield that a worker has two names: the coordinator keeps the name of the first process of a static member."""
    if settings.group_instance and settings.worker_id not in {"", settings.group_instance}:
        yield (
            f"{PREFIX}WORKER_ID: must be that of {PREFIX}GROUP_INSTANCE, {settings.group_instance!r}, or empty, got "
            f"{settings.worker_id!r}: commands would wait for the answer of a worker that was replaced"
        )


def _id_problems(settings: Settings) -> Iterator[str]:
    """Yield that the shapes of ids cannot be read."""
    try:
        read_shapes(settings.id_shapes)
    except ValueError as error:
        yield f"{PREFIX}ID_SHAPES: {error}"


def _webhook_problems(settings: Settings) -> Iterator[str]:
    """Yield that a webhook's URL leads nowhere, or that a secret has no effect."""
    variable, url = f"{PREFIX}INCIDENT_WEBHOOK", settings.incident_webhook
    if url and (fault := _url_fault(url)):
        yield f"{variable}: {fault}, got {_shown_webhook(url)}"
    secrets = [name for name in ("incident_secret", "incident_secret_file") if getattr(settings, name)]
    if not url:
        yield from (f"{PREFIX}{name.upper()}: is set, but has no effect without {variable}" for name in secrets)
    if len(secrets) > 1:
        yield f"{PREFIX}INCIDENT_SECRET_FILE: set this or {PREFIX}INCIDENT_SECRET, not both"


def _url_fault(url: str) -> str:
    """Return what is wrong with a URL's host or port; empty if nothing is."""
    try:
        parts = urlsplit(url)
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_whole = False
    return "" if is_whole else "expected a host and, if there is one, a port from 1 to 65535"


def _no_effect(name: str, with_what: str, instead: str) -> str:
    """Return the problem that a setting has no effect together with another."""
    return f"{PREFIX}{name.upper()}: is set, but has no effect with {with_what}; use {instead}, or leave it empty"


def _with_cafile(url: str, cafile: str) -> str:
    """Add the authorities' file to a Redis URL, so that every client uses it."""
    if not cafile:
        return url
    return f"{url}{'&' if urlsplit(url).query else '?'}ssl_ca_certs={quote(cafile)}"


def _shown(name: str, value: object) -> str:
    """Format a setting for messages, without passwords and without logins and keys in URLs."""
    if "password" in name or (name == "incident_secret" and value):
        return "…"
    return _shown_webhook(str(value)) if name == "incident_webhook" else without_logins(repr(value))


def _shown_webhook(url: str) -> str:
    """Format a webhook's URL without what stands behind its host: it may be a key."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "…"
    if not url or parts.scheme not in ("http", "https"):
        return "…" if url else "''"
    return repr(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/…")


def _behind_host(url: str) -> str:
    """Return what stands behind the host of a URL: path, query and fragment, without the slash before them."""
    return url.partition("://")[2].partition("/")[2]


def _read_text(text: str, kind: object) -> float | str:
    """Return what is converted: a duration in seconds, a level in small letters, or the text as it is."""
    if kind in (Seconds, Skew, Watch):
        return read_seconds(text)
    return text.lower() if kind == Level else text


def read_seconds(text: str) -> float | str:
    """Parse a duration such as `20`, `500 ms` or `5 min` as seconds; without a unit it is in seconds."""
    match = _DURATION.fullmatch(text.strip())
    return float(match[1]) * _SECONDS[match[2] or "s"] if match else text
