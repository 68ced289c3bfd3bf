"""The ACL commands, the Redis rules and the error messages of docs/how-to/secure.md, for tests."""

import re
import shlex
from functools import cache

from support.paths import HOUSE

PAGE = HOUSE / "docs" / "how-to" / "secure.md"


def _text() -> str:
    """Return the page with continued lines joined."""
    return re.sub(r"\\\n\s*", "", PAGE.read_text())


@cache
def acl_commands() -> list[list[str]]:
    """Return the arguments of each `acl` line of the page, as `kafka-acls` takes them."""
    lines = re.findall(r"^acl (User:.*)$", _text(), re.MULTILINE)
    return [["--add", "--allow-principal", *shlex.split(line)] for line in lines]


def redis_rules() -> list[str]:
    """Return what follows the user's name and password in the page's ACL SETUSER line."""
    (line,) = re.findall(r"^ACL SETUSER fraudstream on >\S+ (.*)$", _text(), re.MULTILINE)
    return line.split()


def described_errors() -> list[str]:
    """Return the error messages that the page lists."""
    section = PAGE.read_text().partition("## When it does not work")[2].partition("\n## ")[0]
    return [line.split(" | ")[0].strip("| ") for line in section.splitlines() if line.startswith("| ")][2:]


def documented(error: str) -> str:
    """Return an error message, which must be on the page."""
    assert error in described_errors()
    return error
