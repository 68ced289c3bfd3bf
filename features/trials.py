"""Signs that someone tries a card: the same amount again and again, or a small one and then a large one.

Amounts are exact integers until the last division. Nothing here knows a feature by name.
"""

import numpy as np

from features import traits
from features.frames import PER_MAJOR, Floats, Window

LEAST = PER_MAJOR // 100
"""0.01 major units: an amount of nothing, which only asks whether the card is good, counts as that."""
LARGER_THAN_ANY = np.int64(1 << 62)


def amount_repeated(window: Window) -> Floats:
    """Count the other transactions of own amount and currency.

    Formula: |{i : amount(i) = amount(own) and currency(i) = currency(own)}|, over the others of the window.
    Edges: 0 where there is no other; amounts are compared in minor units, so 1.00 and 1.01 differ.
    Source: cards tried by a script, which seldom varies the amount: OWASP Automated Threats, OAT-001 Carding.
    """
    frame = window.frame
    same = window.others & (frame.minor == frame.of_own(frame.minor)) & ((frame.unlike & traits.CURRENCY.mask) == 0)
    return window.counted(same).astype(np.float64)


def amount_to_smallest(window: Window) -> Floats:
    """Divide own amount by the smallest of the others: a small payment that tries a card, and then a large one.

    Formula: amount(own) / max(0.01, min(amount(i))), over the others of the window, in major units.
    Edges: undefined where there is no other. An amount of nothing, which checks an account, counts as 0.01. Currencies
        are not converted.
    Source: small payments that verify a stolen card before it is used: OWASP Automated Threats, OAT-001 Carding and
        OAT-012 Cashing Out.
    """
    frame = window.frame
    amounts = frame.amounts.copy()
    amounts[~window.others] = LARGER_THAN_ANY
    least = np.minimum.reduceat(amounts, frame.starts)
    alone = least == LARGER_THAN_ANY
    least[alone] = 0
    ratio: Floats = (frame.own_amounts * frame.fold).astype(np.float64) / np.maximum(least * frame.fold, LEAST)
    ratio[alone] = np.nan
    return ratio
