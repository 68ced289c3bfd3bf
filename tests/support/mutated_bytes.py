"""Genuine bytes that were damaged: bits flipped, pieces cut out, put in, repeated or taken from another of them."""

from collections.abc import Sequence

from hypothesis import strategies as st

MOST_CHANGES = 4
LONGEST_PIECE = 12
MOST_REPEATS = 50
ODD_PIECES = (b"9" * 20, b"-", b"e999", b"\xff", bytes(8), b"\xff" * 8, b'"', b"[", b"{", b"\\ud800", b"null", b"\n")
_LONGEST_NOISE = 200
_OFTEN = 7
"""So many of eight examples are damaged genuine bytes, the others are any bytes."""


_PIECES = st.sampled_from(ODD_PIECES) | st.binary(min_size=1, max_size=LONGEST_PIECE)


@st.composite
def mutated(draw: st.DrawFn, genuine: Sequence[bytes]) -> bytes:
    """Draw one of the genuine values with a few changes, none among them; or any bytes."""
    if draw(st.integers(0, _OFTEN)) == _OFTEN:
        return draw(st.binary(max_size=_LONGEST_NOISE))
    value = draw(st.sampled_from(genuine))
    for _ in range(draw(st.integers(0, MOST_CHANGES))):
        value = draw(_changed(value, genuine))
    return value


@st.composite
def _changed(draw: st.DrawFn, value: bytes, genuine: Sequence[bytes]) -> bytes:
    at = draw(st.integers(0, len(value)))
    before, behind = value[:at], value[at:]
    match draw(st.sampled_from(("flip", "cut", "end", "insert", "replace", "repeat", "splice"))):
        case "flip" if behind:
            behind = bytes([behind[0] ^ (1 << draw(st.integers(0, 7)))]) + behind[1:]
        case "cut":
            behind = behind[draw(st.integers(1, LONGEST_PIECE)) :]
        case "insert":
            behind = draw(_PIECES) + behind
        case "replace":
            behind = draw(_PIECES) + behind[draw(st.integers(1, LONGEST_PIECE)) :]
        case "repeat":
            behind = behind[: draw(st.integers(1, LONGEST_PIECE))] * draw(st.integers(1, MOST_REPEATS)) + behind
        case "splice":
            other = draw(st.sampled_from(genuine))
            behind = other[draw(st.integers(0, len(other))) :]
        case _:
            behind = b""
    return before + behind
