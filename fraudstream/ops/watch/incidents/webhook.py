"""Send an incident to a webhook: a CloudEvent as JSON, signed, and sent again until it is accepted.

The event follows CloudEvents 1.0 in structured mode (https://github.com/cloudevents/spec), the signature Standard
Webhooks 1.0 (https://www.standardwebhooks.com): receivers have libraries for both.
"""

import asyncio
import base64
import hashlib
import hmac
import logging
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from enum import StrEnum
from math import inf
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import aiohttp
import msgspec

from fraudstream_client.incidents import Incident
from stream.clock import now_ms
from stream.contract.cloud_events import SPEC_VERSION, VALUE_TYPE, event_of_incident
from stream.errors import SettingsError
from stream.setting_types import SIGNING_FORM, WebhookSecret
from stream.settings import PREFIX, Settings

log = logging.getLogger("fraudstream.webhook")

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
SECRET_PREFIX = "whsec_"  # noqa: S105 - not a secret, but what one begins with

_ANSWER_SECONDS = 10.0
"""So long a receiver may take for its answer."""
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0
_LONGEST_ASKED_SECONDS = 600.0
"""A receiver that asks for a longer pause (`Retry-After`) gets this one."""
REFUSED_SECONDS = 600.0
"""So long an event is sent again that the receiver refuses for what is in it: the others wait meanwhile."""
_REFUSES_EVENT = frozenset({400, 406, 409, 413, 415, 422})
"""What a receiver answers that will never take this event. Any other answer may be another one tomorrow, for the same
event: a wrong URL or secret is mended, a receiver that is away comes back."""
_ACCEPTED = range(200, 300)
_REDIRECTS = range(300, 400)
_LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


class SendOutcome(StrEnum):
    """What became of an event."""

    DELIVERED = "delivered"
    """The receiver answered with 2xx."""
    GIVEN_UP = "given_up"
    """The receiver refused the event itself, for `REFUSED_SECONDS`."""


class Answer(NamedTuple):
    """What came of one attempt.

    Attributes:
        accepted: whether the receiver has taken the event.
        refuses_event: whether it will never take it, as far as its answer tells.
        why: why it was not accepted, in words.
        pause_s: the pause in seconds that it asks for; 0 if it does not.
    """

    accepted: bool
    refuses_event: bool = False
    why: str = ""
    pause_s: float = 0.0


def with_secret(settings: Settings) -> Settings:
    """Return the settings with the secret of `FRAUDSTREAM_INCIDENT_SECRET_FILE`, if that is set.

    Raises:
        SettingsError: the file cannot be read, or holds no secret.
    """
    if not settings.incident_secret_file:
        return settings
    name = f"{PREFIX}INCIDENT_SECRET_FILE"
    try:
        text = Path(settings.incident_secret_file).read_text("ascii").strip()
        secret: str = msgspec.convert(text or "-", WebhookSecret)
    except OSError as error:
        raise SettingsError(f"{name}: {settings.incident_secret_file}: {error.strerror or error}") from error
    except (UnicodeDecodeError, msgspec.ValidationError) as error:
        raise SettingsError(
            f"{name}: {settings.incident_secret_file} must hold {SIGNING_FORM}, and nothing else"
        ) from error
    return msgspec.structs.replace(settings, incident_secret=secret)


def event_id(incident: Incident) -> str:
    """Return the id of the event of a record: by it a receiver knows a repeat again."""
    return event_of_incident(incident).id


def cloud_event(incident: Incident) -> dict[str, Any]:
    """Return the event of a record, as plain JSON; `data` is the record."""
    return {
        "specversion": SPEC_VERSION,
        **event_of_incident(incident)._asdict(),
        "datacontenttype": VALUE_TYPE,
        "data": msgspec.to_builtins(incident),
    }


def signature(secret: str, name: str, timestamp_s: int, body: bytes) -> str:
    """Return the value of the header `webhook-signature`: HMAC-SHA256 over id, time and body.

    Args:
        secret: `whsec_` and the base64 of the key.
        name: the value of `webhook-id`.
        timestamp_s: that of `webhook-timestamp`, seconds since the epoch.
        body: the body, byte for byte.
    """
    key = base64.b64decode(secret.removeprefix(SECRET_PREFIX))
    digest = hmac.new(key, b".".join((name.encode(), str(timestamp_s).encode(), body)), hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def host_of(url: str) -> str:
    """Return where a webhook is, for messages: the rest of its URL may be a key."""
    return urlsplit(url).netloc.rpartition("@")[2]


def weaknesses(settings: Settings) -> tuple[str, ...]:
    """Return what does not protect the events on their way, in words."""
    url, found = urlsplit(settings.incident_webhook), list[str]()
    if url.scheme == "http" and url.hostname not in _LOCAL_HOSTS:
        found.append(f"incidents are sent to {host_of(settings.incident_webhook)} without encryption; use https://")
    if not settings.incident_secret:
        found.append("incidents are sent without a signature, so that their receiver cannot tell them from forged ones")
    return tuple(found)


class Webhook:
    """One receiver. Use it as an asynchronous context.

    Args:
        url: where events are posted; redirects are not followed.
        secret: signs them; without one, they are not signed.
        clock: the time in seconds, from any beginning.

    Attributes:
        trouble: why the last attempt was not accepted, in words; None if it was.
    """

    def __init__(self, url: str, secret: str = "", clock: Callable[[], float] = time.monotonic) -> None:
        self.trouble: str | None = None
        self._url = url
        self._secret = secret
        self._clock = clock
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWER_SECONDS))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    def rest(self) -> None:
        """Note that it is not this process that sends."""
        self.trouble = None

    async def post(self, incident: Incident) -> Answer:
        """Send an event once."""
        name, body, at_s = event_id(incident), msgspec.json.encode(cloud_event(incident)), now_ms() // 1000
        headers = {"Content-Type": CONTENT_TYPE, "webhook-id": name, "webhook-timestamp": str(at_s)}
        if self._secret:
            headers["webhook-signature"] = signature(self._secret, name, at_s, body)
        try:
            async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as answer:
                return _judged(answer.status, answer.headers.get("Retry-After", ""))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return Answer(accepted=False, why=_reason(error))

    async def deliver(self, incident: Incident) -> SendOutcome:
        """Send an event until it is accepted, with pauses; one that the receiver refuses itself, for ten minutes."""
        pause_s, refused_since = _FIRST_PAUSE_SECONDS, inf
        while True:
            answer = await self.post(incident)
            self._note(incident, answer)
            if answer.accepted:
                return SendOutcome.DELIVERED
            refused_since = min(refused_since, self._clock()) if answer.refuses_event else inf
            if self._clock() - refused_since >= REFUSED_SECONDS:
                log.error("incident %s is not sent to %s any more", event_id(incident), host_of(self._url))
                self.trouble = None
                return SendOutcome.GIVEN_UP
            await asyncio.sleep(max(pause_s, answer.pause_s))
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_SECONDS)

    def _note(self, incident: Incident, answer: Answer) -> None:
        """Log what changed since the attempt before."""
        if answer.accepted:
            if self.trouble is not None:
                log.info("%s accepts incidents again", host_of(self._url))
            self.trouble = None
            return
        if answer.why != self.trouble:
            log.warning(
                "%s did not accept incident %s, it is sent again: %s",
                host_of(self._url),
                event_id(incident),
                answer.why,
            )
        self.trouble = answer.why


def _judged(status: int, retry_after: str) -> Answer:
    if status in _ACCEPTED:
        return Answer(accepted=True)
    why = f"it answered {status}"
    if status in _REDIRECTS:
        why += f", which is not followed; let {PREFIX}INCIDENT_WEBHOOK name where that leads"
    return Answer(accepted=False, refuses_event=status in _REFUSES_EVENT, why=why, pause_s=asked_pause_s(retry_after))


def asked_pause_s(retry_after: str) -> float:
    """Return the pause in seconds that a header `Retry-After` asks for, at most ten minutes; 0 if it cannot be read.

    It holds seconds, or the date of the next attempt (RFC 9110, section 10.2.3).
    """
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), _LONGEST_ASKED_SECONDS)
    try:
        asked_s = parsedate_to_datetime(text).timestamp() - now_ms() / 1000
    except (ValueError, OverflowError):
        return 0.0
    return min(max(asked_s, 0.0), _LONGEST_ASKED_SECONDS)


def _reason(error: Exception) -> str:
    """Return why a receiver was not reached; aiohttp's own texts quote URLs."""
    if isinstance(error, TimeoutError):
        return f"it did not answer within {_ANSWER_SECONDS:g} s"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"its certificate is not trusted: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"it cannot be reached: {error.os_error.strerror or type(error.os_error).__name__}"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "it closed the connection without an answer"
    return type(error).__name__
