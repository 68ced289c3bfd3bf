"""What docs/security.md gives each role: the commands and the Redis user as the page has them, for the tests to use."""

import re
import shlex
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "security.md"


def acl_commands() -> list[list[str]]:
    """Return the arguments of each `acl` line of the page, as `kafka-acls` takes them."""
    lines = re.findall(r"^acl (User:.*(?:\\\n.*)*)", PAGE.read_text(), re.MULTILINE)
    return [["--add", "--allow-principal", *shlex.split(line.replace("\\\n", " "))] for line in lines]


def redis_rules() -> list[str]:
    """Return what follows the user's name and password in the page's ACL SETUSER line."""
    (line,) = re.findall(r"^ACL SETUSER fraudstream on >\S+ (.*(?:\\\n.*)*)", PAGE.read_text(), re.MULTILINE)
    return shlex.split(line.replace("\\\n", " "))
