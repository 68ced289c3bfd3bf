"""Rows in the short form: the features that they make, and the errors of invalid ones."""

import pytest

from features.aggregates import Aggregate
from features.declaration import DAY_MS, MINUTE_MS, Feature, FeatureSet
from features.errors import DeclarationError
from features.history.store import Entity
from features.rows import card, device, merchant, own


def test_a_row_in_the_short_form_makes_a_complete_feature() -> None:
    assert merchant("cards", "10m", delay="7d") == Feature(
        Entity.MERCHANT, Aggregate.OTHERS, 10 * MINUTE_MS, 7 * DAY_MS, "cards", "number of different cards"
    )
    assert card("merchant_first", "30d").meaning == "1 if no other was with own merchant"
    assert own("is_night") == Feature(Entity.NONE, Aggregate.NIGHT, None, 0, "0 or 1", own("is_night").meaning)
    assert device("count", "1d", meaning="in other words").meaning == "in other words"


@pytest.mark.parametrize(
    ("write", "said"),
    [
        (
            lambda: card("amount_summ", "7d"),
            r"card\('amount_summ', '7d'\): there is no 'amount_summ' of a card, did you mean 'amount_sum'\? There",
        ),
        (lambda: FeatureSet((own("noon"),)), r"own\('noon'\): it is no field of the contract, so declare it in the"),
        (lambda: card("count"), r"card\('count'\): it needs a window, as in card\('count', '7d'\)"),
        (
            lambda: merchant("count", delay="7d"),
            r"merchant\('count', delay='7d'\): it needs a window, as in merchant\('count', '7d', delay='7d'\)",
        ),
        (
            lambda: card("seconds_since_last", "1d"),
            r"card\('seconds_since_last', '1d'\): it has no window: write card\('seconds_since_last'\)",
        ),
        (
            lambda: merchant("country_jump", "7d"),
            r"merchant\('country_jump', '7d'\): a merchant does not have it: use card",
        ),
        (lambda: card("cards", "7d"), "a card does not have it: use merchant or device"),
        (lambda: card("is_night"), r"card\('is_night'\): a card does not have it: use own"),
        (lambda: card("count", "7 days"), "the window '7 days' is not a whole number and s, m, h or d, as in '10m'"),
        (lambda: card("count", "0d"), "the window '0d' is not"),
        (lambda: card("count", "1.5h"), "the window '1.5h' is not"),
        (lambda: card("count", 7), "the window 7 is not"),  # type: ignore[arg-type]
        (lambda: merchant("count", "7d", delay="-1d"), "the delay '-1d' is not"),
        (lambda: card(None, "7d"), r"card\(None, '7d'\): there is no None of a card, there are: "),  # type: ignore[arg-type]
    ],
)
def test_an_invalid_row_is_refused_with_the_row_and_what_is_expected(write: object, said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        write()  # type: ignore[operator]
