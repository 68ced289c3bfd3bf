"""The cap on declines by the words of docs/how-to/limit-declines.md, from scores alone, with nothing of the code."""

from collections.abc import Iterable, Mapping, Sequence

from fraudstream_client.outputs import Overruled, Score

CAPPED = Overruled("decline_cap", "decline")  # type: ignore[arg-type]
"""What the score of an overruled decline says."""
_NOTHING: Mapping[str, Sequence[bool]] = {}


def should_be_overruled(
    scores: Iterable[Score], allowed: int, before: Mapping[str, Sequence[bool]] = _NOTHING
) -> list[bool]:
    """Return which decisions of one partition, in its order, a cap overrules that allows so many declines of 2,000.

    `before` says of earlier decisions of an arm which were to decline.
    """
    windows = {arm: list(declined) for arm, declined in before.items()}
    was_overruled, found = dict[str | None, bool](), list[bool]()
    for score in scores:
        window = windows.setdefault(str(score.arm), [])
        count_before = sum(window[-2_000:])
        by, said, ruled = "", str(score.decision), str(score.decision)
        if score.overruled is not None:
            by, said = score.overruled.by, str(score.overruled.decision)
            ruled = str(score.decision if by.startswith("rule:") else score.overruled.ruled or said)
        declined = ruled == "decline"
        passed_over = by == "let_through" or (by.startswith("rule:") and score.arm == "live")
        window.append(declined)
        if declined and not passed_over:
            goes_on = was_overruled.get(score.arm, False) and count_before >= 0.8 * allowed
            was_overruled[score.arm] = goes_on or sum(window[-2_000:]) > allowed
        found.append(declined and not passed_over and was_overruled[score.arm])
    return found
