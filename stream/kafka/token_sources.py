"""Where tokens come from: the token endpoint of an OpenID Connect provider, a file, or the signer for Amazon MSK.

A token's own times are used where nothing better tells how long it lasts, and never checked against the broker's rules:
the broker is the judge. Messages quote neither a token nor a secret, nor what a provider says in its own words.
"""

import asyncio
import re
import ssl
import time
from base64 import b64encode, urlsafe_b64decode
from dataclasses import dataclass, field
from importlib import import_module
from math import inf
from pathlib import Path
from typing import Any
from urllib.parse import quote_plus, urlsplit

import msgspec

from stream.clock import now_ms
from stream.errors import install_extra, system_reason
from stream.kafka.tokens import Token, TokenKeeper, TokenSource
from stream.settings import PREFIX, Settings

_ANSWER_SECONDS = 10.0
_LONGEST_ANSWER_BYTES = 1024 * 1024
_FORM = re.compile(r"[A-Za-z0-9._~+/-]+=*")
"""What a bearer token consists of (RFC 6750, section 2.1)."""
_ERROR_CODE = re.compile(r"[a-z_]{1,40}")
_UNKNOWN_LIFETIME_SECONDS = 300.0
"""So soon a token is replaced that does not say how long it lasts."""
_LEAST_PAUSE_SECONDS, _LONGEST_LOOK_SECONDS, _SHORTEST_LOOK_SECONDS = 1.0, 5.0, 0.2
_UNSETTLED_SECONDS, _UNSETTLED_READS = 0.2, 10
"""A file that was changed less than this ago may be cut off, and is read again; so often at most."""
_OK = 200
_KEEPERS: dict[tuple[TokenSource, str], TokenKeeper] = {}
"""The keepers of this process, by source and extensions: all clients of a process share one token."""


def keeper_of(settings: Settings) -> TokenKeeper:
    """Return this process's keeper of tokens for some settings with OAUTHBEARER; it asks for none before it is used."""
    key = (_source_of(settings), settings.kafka_oauth_extensions)
    if key not in _KEEPERS:
        pairs = [pair.partition("=") for pair in key[1].split(",") if pair]
        # In one step: a client on another loop may be made at the same time, and all must have the same keeper.
        _KEEPERS.setdefault(key, TokenKeeper(key[0], {name: value for name, _, value in pairs}))
    return _KEEPERS[key]


def login_trouble(settings: Settings) -> str | None:
    """Return why this process cannot log in to Kafka by a token; None if that is not known to be so."""
    return keeper_of(settings).trouble() if uses_tokens(settings) else None


def uses_tokens(settings: Settings) -> bool:
    """Tell whether clients log in by tokens."""
    return settings.kafka_security_protocol.startswith("SASL") and settings.kafka_sasl_mechanism == "OAUTHBEARER"


def _source_of(settings: Settings) -> TokenSource:
    if settings.kafka_oauth_token_file:
        return TokenFile(settings.kafka_oauth_token_file)
    if settings.kafka_oauth_aws_region:
        return AwsSigner(settings.kafka_oauth_aws_region)
    return TokenEndpoint(
        url=settings.kafka_oauth_token_endpoint,
        client_id=settings.kafka_oauth_client_id,
        secret=settings.kafka_oauth_client_secret,
        secret_file=settings.kafka_oauth_client_secret_file,
        scope=settings.kafka_oauth_scope,
        audience=settings.kafka_oauth_audience,
        cafile=settings.kafka_oauth_cafile,
    )


@dataclass(frozen=True, slots=True)
class TokenEndpoint:
    """The token endpoint of a provider, asked with client credentials (RFC 6749, section 4.4) by HTTP Basic."""

    url: str = field(repr=False)
    client_id: str
    secret: str = field(repr=False, default="")
    secret_file: str = ""
    scope: str = ""
    audience: str = ""
    cafile: str = ""

    @property
    def name(self) -> str:
        """The endpoint without login and query."""
        parts = urlsplit(self.url)
        return f"the token endpoint {parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def pause_s(self, lifetime_s: float, spread: float) -> float:
        """Return three quarters of the lifetime to four fifths of it: what is left is for attempts that fail."""
        lasts_s = _UNKNOWN_LIFETIME_SECONDS if lifetime_s == inf else lifetime_s
        return max(_LEAST_PAUSE_SECONDS, lasts_s * (0.75 + 0.05 * spread))

    def fetch(self) -> Token | str:
        """Ask for a token, on an event loop of this call's own."""
        try:
            secret = _text_of(self.secret_file) if self.secret_file else self.secret
        except (OSError, UnicodeDecodeError) as error:
            return f"{self.secret_file} cannot be read: {system_reason(error)}"
        try:
            context = ssl.create_default_context(cafile=self.cafile or None)
        except ssl.SSLError:
            return f"{self.cafile} holds no PEM certificates ({PREFIX}KAFKA_OAUTH_CAFILE)"
        except OSError as error:
            return f"{self.cafile} cannot be read: {system_reason(error)}"
        if not secret:
            return (
                f"{self.secret_file} is empty: write the client secret there ({PREFIX}KAFKA_OAUTH_CLIENT_SECRET_FILE)"
            )
        answer = asyncio.run(self._post(secret, context))
        return answer if isinstance(answer, str) else _read_answer(*answer)

    async def _post(self, secret: str, context: ssl.SSLContext) -> tuple[int, bytes] | str:
        """Send the request, and return the answer's status and body, or why there is none.

        Id and secret are encoded as RFC 6749, section 2.3.1, has it.
        """
        import aiohttp  # noqa: PLC0415 - it would slow down every command that uses Kafka

        form = {"grant_type": "client_credentials", "scope": self.scope, "audience": self.audience}
        login = b64encode(f"{quote_plus(self.client_id)}:{quote_plus(secret)}".encode()).decode()
        body = bytearray()
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWER_SECONDS)) as session,
                session.post(
                    self.url,
                    data={name: text for name, text in form.items() if text},
                    headers={"Authorization": f"Basic {login}", "Accept": "application/json"},
                    ssl=context,
                    allow_redirects=False,
                ) as answer,
            ):
                async for chunk in answer.content.iter_any():
                    body += chunk
                    if len(body) > _LONGEST_ANSWER_BYTES:
                        break
                return answer.status, bytes(body)
        except (aiohttp.ClientError, OSError, UnicodeError) as error:  # a host's name may be one that IDNA has not
            return _failure(error)


def _failure(error: Exception) -> str:
    """Return why a request failed; most texts of aiohttp quote the URL."""
    import aiohttp  # noqa: PLC0415 - as above

    match error:
        case TimeoutError():
            return f"it did not answer within {_ANSWER_SECONDS:g} s"
        case aiohttp.ClientConnectorCertificateError():
            why = getattr(error.certificate_error, "verify_message", "") or "another name"
            return f"its certificate is not trusted ({why}): set {PREFIX}KAFKA_OAUTH_CAFILE to its authority's file"
        case aiohttp.ClientConnectorSSLError():
            why = getattr(error.os_error, "reason", None) or "no reason is given"
            return f"the TLS handshake failed ({why}): does {PREFIX}KAFKA_OAUTH_TOKEN_ENDPOINT begin with http://?"
        case aiohttp.ClientConnectorError():
            return f"it cannot be reached: {system_reason(error.os_error)}"
        case aiohttp.ServerDisconnectedError():
            why = "it closed the connection without an answer"
        case aiohttp.InvalidURL() | UnicodeError():
            why = f"its host or port is none: check {PREFIX}KAFKA_OAUTH_TOKEN_ENDPOINT"
        case _:
            why = type(error).__name__
    return why


def _read_answer(status: int, body: bytes) -> Token | str:
    """Return the token in an answer of a token endpoint, or what is wrong with the answer."""
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        return f"it answered {status}, but not with JSON: check {PREFIX}KAFKA_OAUTH_TOKEN_ENDPOINT"
    if status != _OK:
        code = str(answer.get("error", ""))
        return f"it answered {status}{f' {code}' if _ERROR_CODE.fullmatch(code) else ''}{_advice(code)}"
    value = answer.get("access_token")
    if not isinstance(value, str) or not _FORM.fullmatch(value):
        return f"it answered {status} without an access_token that can be used"
    lifetime_s = _seconds(answer.get("expires_in"))
    claims = claims_of(value)
    if lifetime_s is None:
        expires, issued = _seconds(claims.get("exp")), _seconds(claims.get("iat"))
        lifetime_s = inf if expires is None or issued is None else expires - issued
    if lifetime_s <= 0:
        return "it gave a token that has expired already"
    return Token(value, lifetime_s, _said(claims))


def _advice(code: str) -> str:
    match code:
        case "invalid_client" | "unauthorized_client":
            return f": check {PREFIX}KAFKA_OAUTH_CLIENT_ID and its secret, and that this client may have credentials"
        case "invalid_scope":
            return f": check {PREFIX}KAFKA_OAUTH_SCOPE"
    return ""


@dataclass(frozen=True, slots=True)
class TokenFile:
    """A file that another program replaces in time, as the kubelet does a projected token; only it knows when.

    So the file is read again and again. While it is being replaced it may be missing, empty or cut off for a moment.
    """

    file: str

    @property
    def name(self) -> str:
        """The file."""
        return f"the token file {self.file}"

    def pause_s(self, lifetime_s: float, spread: float) -> float:  # noqa: ARG002 - files need none
        """Return a fiftieth of what is left of the token, at least 0.2 s and at most 5 s."""
        return min(max(lifetime_s / 50, _SHORTEST_LOOK_SECONDS), _LONGEST_LOOK_SECONDS)

    def fetch(self) -> Token | str:
        """Read the file; how long its token lasts is said by the token itself, if it is a JSON Web Token."""
        try:
            value = _settled_text_of(self.file)
        except (OSError, UnicodeDecodeError) as error:
            return f"it cannot be read: {system_reason(error)}; check {PREFIX}KAFKA_OAUTH_TOKEN_FILE"
        if not value:
            return "it is empty"
        if not _FORM.fullmatch(value):
            return "it holds something else than one token"
        claims = claims_of(value)
        expires = _seconds(claims.get("exp"))
        lifetime_s = inf if expires is None else expires - now_ms() / 1000
        if lifetime_s <= 0:
            return f"its token expired {-lifetime_s:.0f} s ago by this machine's clock: check that, and what renews it"
        return Token(value, lifetime_s, _said(claims))


@dataclass(frozen=True, slots=True)
class AwsSigner:
    """The signer that AWS publishes for Amazon MSK with IAM: tokens are URLs that this process's credentials sign."""

    region: str

    @property
    def name(self) -> str:
        """The signer and its region."""
        return f"the signer for Amazon MSK in {self.region}"

    def pause_s(self, lifetime_s: float, spread: float) -> float:
        """Return three quarters of the lifetime to four fifths of it."""
        return max(_LEAST_PAUSE_SECONDS, lifetime_s * (0.75 + 0.05 * spread))

    def fetch(self) -> Token | str:
        """Sign a token; where credentials come from a service of AWS, that is asked for them."""
        try:
            signer: Any = import_module("aws_msk_iam_sasl_signer.MSKAuthTokenProvider")
            core: Any = import_module("botocore.exceptions")
        except ImportError:
            return f"it is not installed: {install_extra('aws')}"
        try:
            value, expires_ms = signer.generate_auth_token(self.region)
        except (AttributeError, ValueError):  # what it raises without credentials
            return "it finds no AWS credentials, in the environment, files, or the role of the machine or the pod"
        except (core.BotoCoreError, core.ClientError) as error:  # the latter: AWS refuses to give credentials
            return " ".join(str(error).split())
        return Token(value, expires_ms / 1000 - now_ms() / 1000, f"region {self.region!r}")


def _text_of(file: str) -> str:
    """Return a file's text without the white space around it."""
    return Path(file).read_text("utf-8").strip()


def _settled_text_of(file: str) -> str:
    """Return a file's text once nobody writes it: the first half of a token looks like a token that never expires."""
    for _ in range(_UNSETTLED_READS):
        text = _text_of(file)
        if abs(now_ms() / 1000 - Path(file).stat().st_mtime) > _UNSETTLED_SECONDS:
            break
        time.sleep(_UNSETTLED_SECONDS / 2)
    return text


def claims_of(token: str) -> dict[str, Any]:
    """Return what a JSON Web Token claims, unverified; nothing of a token that is none."""
    try:
        _, payload, _ = token.split(".")
        claims = msgspec.json.decode(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    except (msgspec.DecodeError, ValueError, RecursionError):  # binascii's is a ValueError
        return {}
    return claims if isinstance(claims, dict) else {}


def _said(claims: dict[str, Any]) -> str:
    """Return the claims by which a broker accepts or refuses a token."""
    names = {"iss": "issuer", "aud": "audience", "sub": "subject"}
    found = ((word, claims[name]) for name, word in names.items() if name in claims)
    return ", ".join(f"{word} {str(value)[:100]!r}" for word, value in found)


def _seconds(value: object) -> float | None:
    """Return a number of seconds; some providers write it as a text. One beyond all floats is as good as none."""
    if isinstance(value, str) and value.isdecimal():
        return float(value)
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    except OverflowError:
        return None
