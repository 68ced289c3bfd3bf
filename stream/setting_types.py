"""The kinds of values that settings have: what each may hold, the words for it where a value is refused, and its form.

URLs are checked and shown here, too, since a message must not quote a login or a key that is in one.
"""

import re
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

import msgspec

from fraudstream_client.field_types import EXPECTED, text_like

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|min|h|d)?")
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
Mechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER", "GSSAPI"]
Compression = Literal["none", "gzip", "lz4", "snappy", "zstd"]
WebhookUrl = Annotated[
    str,
    text_like(r"^(https?://[^\s/?#]+([/?#][^\s]*)?)?$", "a URL that begins with https:// or http://, without spaces"),
]
TokenEndpoint = WebhookUrl
WebhookSecret = Annotated[
    str, text_like(r"^(whsec_([A-Za-z0-9+/]{4}){8,21}([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?)?$", SIGNING_FORM)
]
Extensions = Annotated[
    str,
    text_like(
        r"^([A-Za-z]+=[!-+\-.-~]+(,[A-Za-z]+=[!-+\-.-~]+)*)?$",
        "NAME=VALUE,NAME=VALUE,… with names of letters, without spaces",
    ),
]
Region = Annotated[str, text_like(r"^([a-z0-9-]{1,64})?$", "the name of a region such as eu-central-1")]
Author = Annotated[str, msgspec.Meta(max_length=200)]
Place = Annotated[str, msgspec.Meta(min_length=1)]


def read_seconds(text: str) -> float | str:
    """Parse a duration such as `20`, `500 ms` or `5 min` as seconds; without a unit it is in seconds."""
    match = _DURATION.fullmatch(text.strip())
    return float(match[1]) * _SECONDS[match[2] or "s"] if match else text


def is_cut_login(url: SplitResult) -> bool:
    """Tell whether a character of the login ended the URL's host: a message about the host would quote the login."""
    if not url.netloc or "@" in url.netloc:
        return False
    port = url.netloc.rpartition(":")[2]
    return "@" in url.path or ("@" in url.query + url.fragment and ":" in url.netloc and not port.isdecimal())


def url_fault(url: str) -> str:
    """Return what is wrong with a URL's host or port; empty if nothing is."""
    try:
        parts = urlsplit(url)
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_whole = False
    return "" if is_whole else "expected a host and, if there is one, a port from 1 to 65535"


def without_path(url: str) -> str:
    """Return a URL for messages without what stands behind its host: it may be a key."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "…"
    if not url or parts.scheme not in ("http", "https"):
        return "…" if url else "''"
    return repr(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/…")


def behind_host(url: str) -> str:
    """Return what stands behind the host of a URL: path, query and fragment, without the slash before them."""
    return url.partition("://")[2].partition("/")[2]
