"""Remove logins and keys from URLs, and from texts that quote them, before they are logged, published or shown.

A user and a password stand before an `@`, the keys of object stores in a query string (`?sig=`, `?token=`). Which of a
query's values are secret, no list of names can tell, so all of them are removed.
"""

import re
from collections.abc import Collection, Mapping
from urllib.parse import unquote, unquote_plus, urlsplit

MASK = "…"
_BEFORE_HOST = re.compile(r"(?<![^\s/'\"@,=(:])[^\s/'\"@,=(:]++:[^\s'\"@,:…]*+@")
_QUERY = re.compile(r"([?&#;][\w.%~+-]{1,100}=)[^\s&#'\"]+")
SHORTEST_SECRET = 4
"""A shorter one is not searched for in texts: it would be found in words."""


def without_logins(text: str, secrets: Collection[str] = ()) -> str:
    """Mask all users, passwords and values of query strings in a text's URLs, and `secrets` wherever they stand.

    A password may hold any character, so in each line all between the first `//` and the last `@` is masked.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    if "@" in text:
        text = _BEFORE_HOST.sub(f"{MASK}@", "".join(map(_masked, text.splitlines(keepends=True))))
    return _QUERY.sub(rf"\1{MASK}", text)


def _masked(line: str) -> str:
    start, end = line.find("//"), line.rfind("@")
    return f"{line[:start]}//{MASK}{line[end:]}" if 0 <= start < end else line


def secrets_in(url: str, names: Collection[str] | None = None) -> frozenset[str]:
    """Return what is secret in a URL, as it is written there and decoded: the password and the values of its query.

    Of the query, only the values of `names`, if they are given.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return frozenset()
    user, separator, password = parts.netloc.rpartition("@")[0].partition(":")
    found = {password if separator else user}
    for pair in re.split("[&;]", f"{parts.query}&{parts.fragment}"):
        name, _, value = pair.partition("=")
        found |= {value, unquote_plus(value)} if names is None or name in names else set()
    found |= {unquote(secret) for secret in found}
    return frozenset(secret for secret in found if len(secret) >= SHORTEST_SECRET)


def secrets_in_options(options: Mapping[str, object]) -> frozenset[str]:
    """Return the texts among a file system's options: any could be a credential that a message quotes."""
    return frozenset(text for text in options.values() if isinstance(text, str) and len(text) >= SHORTEST_SECRET)
