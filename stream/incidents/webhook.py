"""Send an incident to a webhook: a CloudEvent as JSON, signed, and tried again until it is accepted.

The event follows CloudEvents 1.0 in structured mode (https://github.com/cloudevents/spec), the signature Standard
Webhooks 1.0 (https://www.standardwebhooks.com): receivers have libraries for both.
"""

import asyncio
import base64
import hashlib
import hmac
import logging
from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple, Self
from urllib.parse import urlsplit

import aiohttp
import msgspec

from stream.clock import now_ms
from stream.contract.incident import Incident

log = logging.getLogger("fraudstream.webhook")

CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
EVENT_TYPE = "fraudstream.incident"
SECRET_PREFIX = "whsec_"  # noqa: S105 - not a secret, but what one begins with

_ANSWER_SECONDS = 10.0
"""So long a receiver may take for its answer."""
_FIRST_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 60.0
GIVEN_UP_SECONDS = 24 * 3600.0
"""So long an event is tried again that a receiver does not answer, or answers with 5xx, 408, 425 or 429."""
REFUSED_SECONDS = 600.0
"""So long it is tried again where the receiver refuses it: other events wait meanwhile."""
_MAY_CHANGE = frozenset({408, 425, 429})
_SERVER_ERRORS = 500
_ACCEPTED = range(200, 300)


class SendOutcome(StrEnum):
    """What became of an event."""

    DELIVERED = "delivered"
    """The receiver answered with 2xx."""
    GIVEN_UP = "given_up"
    """It did not, for as long as it was tried."""
    STOPPED = "stopped"
    """Another process sends it."""


class Answer(NamedTuple):
    """What came of one attempt: whether it was accepted, or may be later, and why not, in words."""

    accepted: bool
    may_change: bool = True
    why: str = ""


def event_id(incident: Incident) -> str:
    """Return the id of the event of a record: by it a receiver knows a repeat again."""
    return f"{incident.incident_id}.{incident.sequence}.{incident.kind}"


def cloud_event(incident: Incident) -> dict[str, Any]:
    """Return the event of a record, as plain JSON; `data` is the record."""
    return {
        "specversion": "1.0",
        "id": event_id(incident),
        "source": f"/fraudstream/{incident.deployment}",
        "type": f"{EVENT_TYPE}.{incident.kind}",
        "subject": incident.incident_id,
        "time": incident.at,
        "datacontenttype": "application/json",
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


class Webhook:
    """One receiver. Use it as an asynchronous context.

    Args:
        url: where events are posted; redirects are not followed.
        secret: signs them; without one, they are not signed.
    """

    def __init__(self, url: str, secret: str = "") -> None:
        self._url = url
        self._secret = secret
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWER_SECONDS))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def post(self, incident: Incident) -> Answer:
        """Send an event once."""
        name, body, at_s = event_id(incident), msgspec.json.encode(cloud_event(incident)), now_ms() // 1000
        headers = {"Content-Type": CONTENT_TYPE, "webhook-id": name, "webhook-timestamp": str(at_s)}
        if self._secret:
            headers["webhook-signature"] = signature(self._secret, name, at_s, body)
        try:
            async with self._session.post(self._url, data=body, headers=headers, allow_redirects=False) as answer:
                return _judged(answer.status)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return Answer(accepted=False, why=_reason(error))

    async def deliver(self, incident: Incident, goes_on: Callable[[], bool]) -> SendOutcome:
        """Send an event until it is accepted, with pauses, for a day at most.

        Args:
            incident: what to send.
            goes_on: tells whether it is still this process that sends; it is asked before each attempt.
        """
        loop = asyncio.get_running_loop()
        began, pause, said = loop.time(), _FIRST_PAUSE_SECONDS, ""
        while goes_on():
            answer = await self.post(incident)
            if answer.accepted:
                return SendOutcome.DELIVERED
            if answer.why != said:
                log.warning("%s did not accept incident %s: %s", host_of(self._url), event_id(incident), answer.why)
            said = answer.why
            if loop.time() - began >= (GIVEN_UP_SECONDS if answer.may_change else REFUSED_SECONDS):
                log.error("incident %s is not sent to %s any more", event_id(incident), host_of(self._url))
                return SendOutcome.GIVEN_UP
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        return SendOutcome.STOPPED


def _judged(status: int) -> Answer:
    if status in _ACCEPTED:
        return Answer(accepted=True)
    return Answer(
        accepted=False, may_change=status >= _SERVER_ERRORS or status in _MAY_CHANGE, why=f"it answered {status}"
    )


def _reason(error: Exception) -> str:
    """Return why a receiver was not reached; aiohttp's own texts quote URLs."""
    if isinstance(error, TimeoutError):
        return f"it did not answer within {_ANSWER_SECONDS:g} s"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"it cannot be reached: {error.os_error.strerror or type(error.os_error).__name__}"
    return type(error).__name__
