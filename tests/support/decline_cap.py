"""The cap on declines by the words of docs/how-to/limit-declines.md, from scores alone, with nothing of the code."""

from collections.abc import Iterable, Mapping, Sequence

from stream.contract.outputs import Overruled, Score

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
        declined = (score.overruled.decision if score.overruled else score.decision) == "decline"
        let_through = score.overruled is not None and score.overruled.by == "let_through"
        window.append(declined)
        if declined and not let_through:
            goes_on = was_overruled.get(score.arm, False) and count_before >= 0.8 * allowed
            was_overruled[score.arm] = goes_on or sum(window[-2_000:]) > allowed
        found.append(declined and not let_through and was_overruled[score.arm])
    return found
