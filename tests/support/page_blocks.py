"""Blocks of code in the pages of the documentation."""

import re


def blocks(text: str, language: str) -> list[str]:
    """Return the blocks of a language, without the indentation of the list that they may stand in."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^\1```$", text, re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", block, flags=re.MULTILINE) for indent, block in found]


def console_lines(text: str) -> list[str]:
    """Return the lines of the console blocks, those that a backslash continues joined."""
    joined = (re.sub(r"\\\n\s*", "", block) for block in blocks(text, "console"))
    return [line for block in joined for line in block.splitlines()]
