"""Text from elsewhere as it is shown: no character of it moves a cursor, ends a line or reorders its neighbours."""


def printable(text: str) -> str:
    """Escape all characters that are no glyph, line ends included."""
    return text if text.isprintable() else "".join(map(_escaped, text))


def printable_lines(text: str) -> str:
    """Escape all characters that are no glyph, except for line ends and tabs."""
    return text if text.isprintable() else "".join(one if one in "\n\t" else _escaped(one) for one in text)


def _escaped(one: str) -> str:
    return one if one.isprintable() else one.encode("unicode_escape").decode()
