"""All settings, read once from the environment into one frozen value.

The settings table in the documentation is generated from the docstrings below. Only the OpenTelemetry SDK reads other
variables of the environment, its own `OTEL_*`.
"""

from collections.abc import Collection, Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal, get_type_hints
from urllib.parse import parse_qs, quote, urlsplit

import msgspec

from features.redis.urls import PASSWORD_FILE, first_host
from models.expected import expected
from models.logins import SHORTEST_SECRET, secrets_in, without_logins
from stream import setting_types as kinds
from stream.errors import SettingsError
from stream.id_rules import read_shapes
from stream.logs import Form, Level

PREFIX = "FRAUDSTREAM_"
_SECRETS = frozenset({"incident_secret", "kafka_oauth_client_secret"})
_REDIS_SECRETS = ("password", "sentinel_password")
_TOKEN_SOURCES = ("kafka_oauth_token_endpoint", "kafka_oauth_token_file", "kafka_oauth_aws_region")
_INSECURE_OPTIONS = {"ssl_cert_reqs", "ssl_check_hostname"}
_ALIKE = 0.8
"""How much of two names must be the same for one to be taken for a misspelling of the other, from 0 to 1."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a process. Each field is read from the environment variable FRAUDSTREAM_<FIELD>."""

    brokers: kinds.Addresses = "127.0.0.1:9092"
    """Kafka's bootstrap servers, `host:port,…`."""
    redis_url: kinds.RedisUrl = "redis://127.0.0.1:6379/0"
    """The Redis that holds the histories: `redis://`, `rediss://`, `unix://`; for a Redis Cluster
    `redis+cluster://host:port,…`, `rediss+cluster://`; for the master that Redis Sentinel knows by a name
    `redis+sentinel://host:port,…/name/0`, `rediss+sentinel://`."""
    models: kinds.Place = "models-repository"
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
    deployment: kinds.Name = "default"
    """The deployment's name, for each independent lineup: prefixes its Redis keys, and keys its control records."""
    group: kinds.Prefix = ""
    """The consumer group that the workers of a deployment share; empty: `fraudstream-<deployment>`. No worker of
    another deployment may be in it, and a deployment has one group."""
    group_instance: kinds.OptionalName = ""
    """A name of the worker in its group that it keeps over restarts (`group.instance.id`), each worker its own; empty:
    none. A restart within the session timeout then moves no partition, but a worker that is stopped and does not come
    back leaves its partitions without decisions for that long."""
    topic_prefix: kinds.Prefix = ""
    """A prefix for the name of every topic."""
    estate: kinds.OptionalName = ""
    """What tells this installation from others that share its keys or its model repository, such as `production` and
    `staging`; empty: the id of the Kafka cluster. Signatures of commands count within it, and the snapshot of the
    control log is named by it: set one name where a cluster is moved, or mirrored to take over."""
    http: kinds.Address = "127.0.0.1:6066"
    """The address on which a worker serves `/health/live`, `/health/ready` and `/metrics`."""
    deadline_ms: Annotated[int, msgspec.Meta(gt=0)] = 100
    """A decision later than this after its record's timestamp counts as a missed deadline."""
    future_skew: kinds.Skew = 300.0
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
    session_timeout: kinds.Seconds = 10.0
    """A worker without heartbeats for this long leaves the group, and its partitions move."""
    drain_seconds: kinds.Seconds = 20.0
    """How long a batch in progress may take after SIGTERM or a revocation of partitions; then the process ends."""
    poll_records: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 512
    """The maximum number of records in a batch, over all partitions; limits how long a synchronous step takes."""
    fetch_wait_ms: Annotated[int, msgspec.Meta(ge=1, le=500)] = 20
    """How long a fetch waits for data at most; a partition that is not in the fetch waits as long. Where nothing has
    come for 5 s, it is 200 ms at least."""
    commit_interval: kinds.Seconds = 1.0
    """How often offsets are committed, and copied to Redis; affects how much a new owner reads again."""
    compression: kinds.Compression = "zstd"
    """The codec of everything that is written to Kafka, batch by batch: `none`, `gzip`, `lz4`, `snappy` or `zstd`. All
    that read the topics need it; some Kafka clients and services have `gzip` only."""
    kafka_idempotence: bool = True
    """Use idempotent producers; turn it off only for brokers that do not support them, as the demo's."""
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    """The security protocol of the brokers."""
    kafka_sasl_mechanism: kinds.Mechanism = "SCRAM-SHA-512"
    """With a SASL protocol: the mechanism. `OAUTHBEARER` needs a source of tokens, one of
    `FRAUDSTREAM_KAFKA_OAUTH_TOKEN_ENDPOINT`, `_TOKEN_FILE` and `_AWS_REGION`; `GSSAPI` is Kerberos, and needs the
    package `gssapi`."""
    kafka_sasl_username: str = ""
    """With `PLAIN` or `SCRAM`: the user name."""
    kafka_sasl_password: str = ""
    """With `PLAIN` or `SCRAM`: the password. Never logged."""
    kafka_sasl_kerberos_service: kinds.Name = "kafka"
    """With `GSSAPI`: the name of the brokers' service; a broker's principal is `SERVICE/HOST`."""
    kafka_sasl_kerberos_domain: kinds.OptionalName = ""
    """With `GSSAPI`: the host in the brokers' principal; empty: that of each broker's address."""
    kafka_oauth_token_endpoint: kinds.TokenEndpoint = ""
    """With `OAUTHBEARER`: the URL at which an OpenID Connect provider gives tokens for client credentials."""
    kafka_oauth_client_id: str = ""
    """With a token endpoint: the client id."""
    kafka_oauth_client_secret: str = ""
    """With a token endpoint: the client secret. Never logged."""
    kafka_oauth_client_secret_file: str = ""
    """A file that holds the client secret, in place of the variable; read again for each token."""
    kafka_oauth_scope: str = ""
    """With a token endpoint: the scopes to ask for, separated by spaces; empty: the provider's choice."""
    kafka_oauth_audience: str = ""
    """With a token endpoint: the parameter `audience`, which some providers need; empty: it is not sent."""
    kafka_oauth_cafile: str = ""
    """With a token endpoint: a PEM file of the authorities that are trusted to sign its certificate; empty: the
    system's."""
    kafka_oauth_token_file: str = ""
    """With `OAUTHBEARER`: a file that holds the token and is replaced in time, as Kubernetes' projected tokens are. It
    is read again and again."""
    kafka_oauth_aws_region: kinds.Region = ""
    """With `OAUTHBEARER`: the region of an Amazon MSK cluster with IAM access control. Tokens are signed with the AWS
    credentials of the process; needs the extra `aws`."""
    kafka_oauth_extensions: kinds.Extensions = ""
    """With `OAUTHBEARER`: SASL extensions, `NAME=VALUE` separated by commas, such as `logicalCluster=lkc-1`."""
    kafka_ssl_cafile: str = ""
    """A PEM file of the authorities that are trusted to sign the brokers' certificates; empty: the system's."""
    kafka_ssl_certfile: str = ""
    """For mutual TLS: the PEM file of the client certificate, with its intermediate authorities."""
    kafka_ssl_keyfile: str = ""
    """For mutual TLS: the PEM file of its private key, not encrypted; empty: the key is in the certificate's file."""
    redis_cafile: str = ""
    """With a URL that begins with `rediss`: a PEM file of authorities that are trusted besides the system's."""
    redis_password_file: str = ""
    """A file that holds the password of the user in `FRAUDSTREAM_REDIS_URL`, in place of one in the URL; read again for
    each connection, so that it can be replaced at any time."""
    watch: kinds.Watch = 3600.0
    """How long a promotion keeps the previous live model as challenger, to watch the switch; 0: not at all."""
    shadow_queue: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 4096
    """The maximum number of decisions queued for the challenger; those that do not fit are skipped and counted."""
    shadow_timeout: kinds.Seconds = 10.0
    """If the challenger's process does not answer for this long, it is killed and restarted."""
    shadow_memory_mb: Annotated[int, msgspec.Meta(ge=256, le=1_048_576)] = 1024
    """The limit of the challenger's private memory, in MiB."""
    worker_id: kinds.OptionalName = ""
    """The worker's name in events; empty: `FRAUDSTREAM_GROUP_INSTANCE`, or host and process id."""
    log_level: Level = "info"
    """The level from which on a worker logs: `debug`, `info`, `warning` or `error`. What libraries log is left out
    below `warning`; with `debug`, it is shown from INFO on."""
    log_format: Form = "text"
    """The form of a worker's log, on standard error: `text`, or `json` for one JSON object a line."""
    incident_webhook: kinds.WebhookUrl = ""
    """For a guard: the URL to which incidents are posted, as CloudEvents 1.0; empty: they are on the topic `incidents`
    alone."""
    incident_secret: kinds.WebhookSecret = ""
    """With `FRAUDSTREAM_INCIDENT_WEBHOOK`: the key that signs what is posted (Standard Webhooks, HMAC-SHA256), `whsec_`
    and base64; empty: it is not signed. Never logged."""
    incident_secret_file: str = ""
    """A file that holds that key, in place of `FRAUDSTREAM_INCIDENT_SECRET`."""
    actor: kinds.Author = ""
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
        logins = (
            {self.kafka_sasl_password, self.kafka_oauth_client_secret}
            | secrets_in(self.redis_url, _REDIS_SECRETS)
            | secrets_in(self.models)
        )
        logins |= secrets_in(self.snapshots)
        webhook = {self.incident_secret, kinds.behind_host(self.incident_webhook)} | secrets_in(self.incident_webhook)
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
    problems += [
        *_oauth_problems(settings),
        *_extension_problems(settings),
        *_name_problems(settings),
        *_webhook_problems(settings),
        *_id_problems(settings),
    ]
    if problems:
        raise SettingsError("\n".join(problems))
    return msgspec.structs.replace(settings, redis_url=_with_files(settings))


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
    protocol, mechanism = settings.kafka_security_protocol, settings.kafka_sasl_mechanism
    has_user = protocol.startswith("SASL") and mechanism not in ("OAUTHBEARER", "GSSAPI")
    with_what, instead = f"KAFKA_SECURITY_PROTOCOL={protocol}", "SASL_SSL"
    if protocol.startswith("SASL"):
        with_what, instead = f"KAFKA_SASL_MECHANISM={mechanism}", "PLAIN or SCRAM"
    for name in ("kafka_sasl_username", "kafka_sasl_password"):
        given = bool(getattr(settings, name))
        if has_user and not given:
            yield f"{PREFIX}{name.upper()}: needed with {protocol}, but is empty"
        if given and not has_user:
            yield _no_effect(name, with_what, instead)


def _oauth_problems(settings: Settings) -> Iterator[str]:
    """Yield which settings of OAuth are missing or in each other's way, or have no effect."""
    of_oauth = [field.name for field in msgspec.structs.fields(Settings) if field.name.startswith("kafka_oauth_")]
    given = [name for name in of_oauth if getattr(settings, name)]
    mechanism = settings.kafka_sasl_mechanism
    if not settings.kafka_security_protocol.startswith("SASL") or mechanism != "OAUTHBEARER":
        with_what = f"KAFKA_SECURITY_PROTOCOL={settings.kafka_security_protocol} and KAFKA_SASL_MECHANISM={mechanism}"
        yield from (_no_effect(name, with_what, "SASL_SSL and OAUTHBEARER") for name in given)
        return
    if len([name for name in _TOKEN_SOURCES if name in given]) != 1:
        names = [f"{PREFIX}{name.upper()}" for name in _TOKEN_SOURCES]
        yield f"{PREFIX}KAFKA_SASL_MECHANISM: OAUTHBEARER needs one of {', '.join(names)}, and no other of them"
    if not settings.kafka_oauth_token_endpoint:
        without = f"without {PREFIX}KAFKA_OAUTH_TOKEN_ENDPOINT"
        useless = [name for name in given if name not in (*_TOKEN_SOURCES, "kafka_oauth_extensions")]
        yield from (f"{PREFIX}{name.upper()}: is set, but has no effect {without}" for name in useless)
        return
    endpoint, variable = settings.kafka_oauth_token_endpoint, f"{PREFIX}KAFKA_OAUTH_TOKEN_ENDPOINT"
    if fault := kinds.url_fault(endpoint):
        yield f"{variable}: {fault}, got {_shown('kafka_oauth_token_endpoint', endpoint)}"
    elif "@" in urlsplit(endpoint).netloc:
        yield f"{variable}: holds a login; give it as {PREFIX}KAFKA_OAUTH_CLIENT_ID and its secret"
    if "kafka_oauth_client_id" not in given:
        yield f"{PREFIX}KAFKA_OAUTH_CLIENT_ID: needed with a token endpoint, but is empty"
    if len([name for name in given if name.startswith("kafka_oauth_client_secret")]) != 1:
        variable = f"{PREFIX}KAFKA_OAUTH_CLIENT_SECRET"
        yield f"{variable}: a token endpoint needs this or {variable}_FILE, and not both"


def _extension_problems(settings: Settings) -> Iterator[str]:
    """Yield that a SASL extension would stand for the token itself (RFC 7628, section 3.1), or twice."""
    names = [pair.partition("=")[0] for pair in settings.kafka_oauth_extensions.split(",")]
    if "auth" in names or len(set(names)) < len(names):
        yield f"{PREFIX}KAFKA_OAUTH_EXTENSIONS: none may be called auth, as the token is, or stand there twice"


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
        if kinds.is_cut_login(redis):
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
    if settings.redis_password_file and (redis.password or options & {"password", PASSWORD_FILE}):
        yield f"{PREFIX}REDIS_PASSWORD_FILE: set this or a password in {PREFIX}REDIS_URL, not both"
    for option in sorted(options & _INSECURE_OPTIONS):
        yield f"{PREFIX}REDIS_URL: {option} would disable verification of the server's certificate; remove it"


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
    if url and (fault := kinds.url_fault(url)):
        yield f"{variable}: {fault}, got {kinds.without_path(url)}"
    secrets = [name for name in ("incident_secret", "incident_secret_file") if getattr(settings, name)]
    if not url:
        yield from (f"{PREFIX}{name.upper()}: is set, but has no effect without {variable}" for name in secrets)
    if len(secrets) > 1:
        yield f"{PREFIX}INCIDENT_SECRET_FILE: set this or {PREFIX}INCIDENT_SECRET, not both"


def _no_effect(name: str, with_what: str, instead: str) -> str:
    """Return the problem that a setting has no effect together with another."""
    return f"{PREFIX}{name.upper()}: is set, but has no effect with {with_what}; use {instead}, or leave it empty"


def _with_files(settings: Settings) -> str:
    """Return the URL of Redis with the files of authorities and of the password, so that every client uses them."""
    url = settings.redis_url
    for option, file in (("ssl_ca_certs", settings.redis_cafile), (PASSWORD_FILE, settings.redis_password_file)):
        url += f"{'&' if urlsplit(url).query else '?'}{option}={quote(file)}" if file else ""
    return url


def _shown(name: str, value: object) -> str:
    """Format a setting for messages, without passwords and without logins and keys in URLs."""
    if name == "kafka_sasl_password" or (name in _SECRETS and value):
        return "…"
    return kinds.without_path(str(value)) if name == "incident_webhook" else without_logins(repr(value))


def _read_text(text: str, kind: object) -> float | str:
    """Return what is converted: a duration in seconds, a level in small letters, or the text as it is."""
    if kind in (kinds.Seconds, kinds.Skew, kinds.Watch):
        return kinds.read_seconds(text)
    return text.lower() if kind == Level else text
