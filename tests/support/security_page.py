"""What docs/how-to/secure.md gives each role: the commands and the Redis user of the page, for the tests to use."""

import re
import shlex

from support.paths import HOUSE

PAGE = HOUSE / "docs" / "how-to" / "secure.md"


def _text() -> str:
    """Return the page with its continued lines as one."""
    return re.sub(r"\\\n\s*", "", PAGE.read_text())


def acl_commands() -> list[list[str]]:
    """Return the arguments of each `acl` line of the page, as `kafka-acls` takes them."""
    lines = re.findall(r"^acl (User:.*)$", _text(), re.MULTILINE)
    return [["--add", "--allow-principal", *shlex.split(line)] for line in lines]


def redis_rules() -> list[str]:
    """Return what follows the user's name and password in the page's ACL SETUSER line."""
    (line,) = re.findall(r"^ACL SETUSER fraudstream on >\S+ (.*)$", _text(), re.MULTILINE)
    return line.split()


def complaints() -> list[str]:
    """Return what the page says that one is told when something is wrong."""
    section = PAGE.read_text().partition("## When it does not work")[2].partition("\n## ")[0]
    return [line.split(" | ")[0].strip("| ") for line in section.splitlines() if line.startswith("| ")][2:]


def documented(complaint: str) -> str:
    """Return a complaint, which must be on the page."""
    assert complaint in complaints()
    return complaint
