"""What is posted to a webhook, how it is signed, and what becomes of each answer; against a real HTTP server."""

import asyncio
import base64
import hashlib
import hmac
import logging
import re
import ssl
import threading
from collections.abc import Iterator
from datetime import datetime
from email.utils import formatdate
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from fraudstream.ops.watch.incidents import webhook
from fraudstream.ops.watch.incidents.webhook import (
    CONTENT_TYPE,
    Answer,
    SendOutcome,
    Webhook,
    asked_pause_s,
    event_id,
    signature,
    weaknesses,
    with_secret,
)
from fraudstream_client.incidents import Incident, IncidentKind
from stream.clock import now_ms
from stream.errors import SettingsError
from stream.settings import Settings
from support.certificates import Authority, NoCertificates
from support.incident_world import PastReader, begin_at, troubled_past
from support.paths import HOUSE
from support.webhook_receiver import Receiver, Respond, answer, close, hang

KEY = bytes(range(32))
SECRET = f"whsec_{base64.b64encode(KEY).decode()}"
FOUND = PastReader(troubled_past(1), begin_at()).read_all()
INCIDENT = next(one for one in FOUND if one.amounts)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(webhook, "_LONGEST_PAUSE_SECONDS", 0.02)


async def delivered(receiver: Receiver, incident: Incident = INCIDENT, secret: str = SECRET) -> SendOutcome:
    async with Webhook(receiver.url, secret) as hook, asyncio.timeout(20):
        return await hook.deliver(incident)


# --- what is posted


async def test_the_event_is_a_cloud_event_in_structured_json_mode_that_holds_the_whole_record() -> None:
    async with Receiver() as receiver:
        assert await delivered(receiver) is SendOutcome.DELIVERED
    (posted,) = receiver.posted
    event = posted.event
    assert posted.headers["content-type"] == CONTENT_TYPE
    assert CONTENT_TYPE.startswith("application/cloudevents+json")
    assert {name: event[name] for name in ("specversion", "source", "type", "subject", "datacontenttype")} == {
        "specversion": "1.0",
        "source": "/fraudstream/bank",
        "type": f"fraudstream.incident.{INCIDENT.kind}",
        "subject": INCIDENT.incident_id,
        "datacontenttype": "application/json",
    }
    assert (event["time"], event["id"]) == (INCIDENT.at, event_id(INCIDENT))
    assert datetime.fromisoformat(event["time"]).tzinfo is not None
    assert msgspec.convert(event["data"], Incident) == INCIDENT
    assert set(event) == {*("specversion", "source", "type", "subject", "datacontenttype", "time", "id", "data")}


async def test_the_signature_covers_id_time_and_the_exact_body() -> None:
    async with Receiver() as receiver:
        await delivered(receiver)
    (posted,) = receiver.posted
    name, at_s = posted.headers["webhook-id"], posted.headers["webhook-timestamp"]
    signed = f"{name}.{at_s}.".encode() + posted.body
    expected = base64.b64encode(hmac.new(KEY, signed, hashlib.sha256).digest()).decode()
    assert posted.headers["webhook-signature"] == f"v1,{expected}"
    assert name == posted.event["id"]
    assert abs(now_ms() / 1000 - int(at_s)) < 60
    assert SECRET.encode() not in posted.body


@pytest.mark.parametrize(
    ("secret", "name", "at_s", "body", "signed"),
    [
        (
            "whsec_plJ3nmyCDGBKInavdOK15jsl",
            "msg_loFOjxBNrRLzqYUf",
            1_731_705_121,
            b'{"event_type":"ping","data":{"success":true}}',
            "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
        ),
        (
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            b'{"test": 2432232314}',
            "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
        ),
    ],
    ids=["Standard Webhooks", "Svix"],
)
def test_the_signature_is_that_of_published_vectors(
    secret: str, name: str, at_s: int, body: bytes, signed: str
) -> None:
    """Those of the libraries of Standard Webhooks, and of the documentation of Svix, whose scheme they follow."""
    assert signature(secret, name, at_s, body) == signed


async def test_without_a_secret_nothing_is_signed() -> None:
    async with Receiver() as receiver:
        await delivered(receiver, secret="")
    assert "webhook-signature" not in receiver.posted[0].headers


# --- what becomes of each answer

GOES_ON: dict[str, Respond] = {
    **{str(status): answer(status) for status in (500, 429, 401, 404, 418)},
    "redirect": answer(308, Location="http://127.0.0.1:1/"),
    "closes": close,
}


@pytest.mark.parametrize("respond", GOES_ON.values(), ids=GOES_ON)
async def test_an_event_that_is_not_accepted_is_sent_again_with_the_same_id_and_body(respond: Respond) -> None:
    async with Receiver([respond] * 3) as receiver:
        assert await delivered(receiver) is SendOutcome.DELIVERED
    assert len(receiver.posted) == 4
    assert len({(one.headers["webhook-id"], one.body) for one in receiver.posted}) == 1
    assert [one.event["id"] for one in receiver.accepted] == [event_id(INCIDENT)]


async def test_a_receiver_that_hangs_is_given_up_after_the_timeout_and_asked_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(webhook, "_ANSWER_SECONDS", 0.2)
    async with Receiver([hang]) as receiver:
        assert await delivered(receiver) is SendOutcome.DELIVERED
    assert len(receiver.posted) >= 2
    assert "it did not answer within 0.2 s" in caplog.text


async def test_a_receiver_that_is_down_is_asked_until_it_is_there(caplog: pytest.LogCaptureFixture) -> None:
    receiver = Receiver()
    await receiver.start()
    await receiver.stop()
    async with Webhook(receiver.url, SECRET) as hook:
        sending = asyncio.create_task(hook.deliver(INCIDENT))
        async with asyncio.timeout(20):
            while hook.trouble is None:  # noqa: ASYNC110 - set by attempts that the test does not make
                await asyncio.sleep(0.01)
            assert "cannot be reached" in hook.trouble
            await receiver.start()
            assert await sending is SendOutcome.DELIVERED
        assert hook.trouble is None
    await receiver.stop()
    assert [one.event["id"] for one in receiver.accepted] == [event_id(INCIDENT)]
    assert len([line for line in caplog.messages if "cannot be reached" in line]) == 1


class Clock:
    """A clock that a receiver sets."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s

    def at(self, seconds: float, status: int) -> Respond:
        """Return what answers with a status, once it is so late."""

        async def respond(request: web.Request) -> web.StreamResponse:
            self.now_s = 1_000.0 + seconds
            return await answer(status)(request)

        return respond


@pytest.mark.parametrize("status", [400, 413])
async def test_an_event_that_the_receiver_refuses_itself_is_given_up_after_ten_minutes(
    status: int, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    script = [clock.at(seconds, status) for seconds in (0, 300, 599.9, 600)]
    async with Receiver(script) as receiver, Webhook(receiver.url, SECRET, clock) as hook:
        assert await hook.deliver(INCIDENT) is SendOutcome.GIVEN_UP
        assert (len(receiver.posted), hook.trouble) == (4, None)
        assert await hook.deliver(INCIDENT) is SendOutcome.DELIVERED
    assert f"incident {event_id(INCIDENT)} is not sent to 127.0.0.1:" in caplog.text


async def test_an_answer_that_may_change_begins_the_ten_minutes_anew() -> None:
    clock = Clock()
    script = [clock.at(*one) for one in ((0, 422), (599, 422), (700, 503), (800, 422), (1_399, 422))]
    async with Receiver(script) as receiver, Webhook(receiver.url, SECRET, clock) as hook:
        assert await hook.deliver(INCIDENT) is SendOutcome.DELIVERED
    assert len(receiver.posted) == 6


async def test_retry_after_is_waited_for() -> None:
    loop, receiver = asyncio.get_running_loop(), Receiver([answer(429, Retry_After="1")])
    async with receiver:
        began = loop.time()
        assert await delivered(receiver) is SendOutcome.DELIVERED
        assert loop.time() - began >= 1.0


def test_retry_after_holds_seconds_or_a_date_and_is_bounded() -> None:
    in_a_minute = formatdate(now_ms() / 1000 + 60, usegmt=True)
    assert 55 < asked_pause_s(in_a_minute) <= 60
    assert asked_pause_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert [asked_pause_s(text) for text in ("0", "7", " 7 ", "100000")] == [0.0, 7.0, 7.0, 600.0]
    assert asked_pause_s("Fri, 31 Dec 2999 23:59:59 GMT") == 600.0


@given(st.text())
def test_any_text_may_stand_in_retry_after(text: str) -> None:
    assert 0.0 <= asked_pause_s(text) <= 600.0


async def test_a_redirect_is_not_followed_and_the_reason_says_what_to_do() -> None:
    async with Receiver() as elsewhere, Receiver([answer(307, Location=elsewhere.url)]) as receiver:
        async with Webhook(receiver.url, SECRET) as hook:
            found = await hook.post(INCIDENT)
        assert found == Answer(
            accepted=False,
            why="it answered 307, which is not followed; let FRAUDSTREAM_INCIDENT_WEBHOOK name where that leads",
        )
        assert elsewhere.posted == []


# --- secrets and TLS


async def test_neither_the_secret_nor_the_path_of_the_url_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with Receiver([answer(500), close, answer(302), answer(404)]) as receiver:
        await delivered(receiver)
    assert "did not accept incident" in caplog.text
    assert "accepts incidents again" in caplog.text
    assert not [hidden for hidden in (SECRET, SECRET.removeprefix("whsec_"), "/hook") if hidden in caplog.text]


async def test_a_certificate_is_checked_against_the_systems_authorities(tmp_path: Path) -> None:
    try:
        authority = Authority(tmp_path / "ca")
    except NoCertificates as error:
        pytest.skip(str(error))
    authority.vouch("receiver")
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(tmp_path / "ca" / "receiver-pair.pem")
    async with Receiver(tls=served) as receiver, Webhook(receiver.url, SECRET) as hook:
        refused = await hook.post(INCIDENT)
        assert (refused.accepted, refused.refuses_event) == (False, False)
        assert "its certificate is not trusted" in refused.why
        assert receiver.posted == []


def test_what_does_not_protect_the_events_is_said() -> None:
    assert weaknesses(Settings(incident_webhook="https://pager/x", incident_secret=SECRET)) == ()
    assert weaknesses(Settings(incident_webhook="http://127.0.0.1:8099/x", incident_secret=SECRET)) == ()
    plain = weaknesses(Settings(incident_webhook="http://pager:80/key", incident_secret=SECRET))
    assert plain == ("incidents are sent to pager:80 without encryption; use https://",)
    assert "without a signature" in weaknesses(Settings(incident_webhook="https://pager/x"))[0]


def test_the_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(f"{SECRET}\n")
    settings = Settings(incident_webhook="https://pager/x", incident_secret_file=str(tmp_path / "key"))
    assert with_secret(settings).incident_secret == SECRET
    assert SECRET in with_secret(settings).secrets()
    assert with_secret(Settings()) == Settings()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", SECRET.encode() * 2])
def test_a_file_without_a_secret_is_refused_by_name_without_what_it_holds(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    settings = Settings(incident_webhook="https://pager/x", incident_secret_file=str(tmp_path / "key"))
    with pytest.raises(SettingsError, match=r"FRAUDSTREAM_INCIDENT_SECRET_FILE: .*key must hold whsec_") as refused:
        with_secret(settings)
    assert SECRET not in str(refused.value)


# --- the receiver of the guide


@pytest.fixture
def guide(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """The program of the guide, with its server running; `url` and `paged` are added."""
    monkeypatch.setenv("FRAUDSTREAM_INCIDENT_SECRET", SECRET)
    page = (HOUSE / "docs/how-to/hear-of-incidents.md").read_text()
    (block,) = re.findall(r"^```python\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {"__name__": "guide"}
    exec(compile(block, "the guide", "exec"), names)  # noqa: S102 - our own page
    paged: list[Any] = []
    receiver = names["Receiver"]
    monkeypatch.setattr(receiver, "page", lambda _self, incident: paged.append(incident))
    monkeypatch.setattr(receiver, "log_message", lambda *_: None)
    server = ThreadingHTTPServer(("127.0.0.1", 0), receiver)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    yield names | {"url": f"http://127.0.0.1:{server.server_address[1]}/", "paged": paged}
    server.shutdown()
    serving.join()
    server.server_close()


async def test_the_receiver_of_the_guide_takes_what_we_sign_once_and_nothing_else(guide: dict[str, Any]) -> None:
    async with Webhook(guide["url"], SECRET) as hook:
        assert [(await hook.post(INCIDENT)).accepted for _ in range(2)] == [True, True]
        other = msgspec.structs.replace(INCIDENT, kind=IncidentKind.CLOSED, sequence=1)
        assert (await hook.post(other)).accepted
    for secret in ("", f"whsec_{base64.b64encode(bytes(32)).decode()}"):
        async with Webhook(guide["url"], secret) as forged:
            assert (await forged.post(INCIDENT)).why == "it answered 401"
    assert [one["kind"] for one in guide["paged"]] == [INCIDENT.kind, "closed"]


def test_the_receiver_of_the_guide_refuses_what_is_old_or_changed(guide: dict[str, Any]) -> None:
    body, at_s = b'{"a": 1}', now_ms() // 1000

    def headers(sent_at: int, signed: bytes = body) -> dict[str, str]:
        return {
            "webhook-id": "x",
            "webhook-timestamp": str(sent_at),
            "webhook-signature": f"v1,AAAA {signature(SECRET, 'x', sent_at, signed)}",
        }

    assert guide["is_genuine"](headers(at_s), body)
    assert not guide["is_genuine"](headers(at_s - 400), body)
    assert not guide["is_genuine"](headers(at_s, b"{}"), body)
    assert not guide["is_genuine"](headers(at_s) | {"webhook-id": "y"}, body)
    assert not guide["is_genuine"]({}, body)
