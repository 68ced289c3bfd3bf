"""Which settings can change a decision: every setting has an answer, and the hash follows from those that can."""

import hashlib
from typing import Any, get_args, get_type_hints

import msgspec
import pytest

from stream.deciding_settings import EFFECTS, deciding_settings, differing, hash_of
from stream.settings import Settings

FIELDS = tuple(field.name for field in msgspec.structs.fields(Settings))
SECRETS = ("kafka_sasl_password", "incident_secret", "redis_url", "models", "incident_webhook", "signing_key")


def other_value(name: str) -> Any:
    """Return a value that a setting does not have by default."""
    default = getattr(Settings(), name)
    choices = get_args(get_type_hints(Settings)[name])
    if isinstance(default, bool):
        return not default
    if isinstance(default, int | float):
        return default + 1
    return next((one for one in choices if one != default), f"{default}x")


def test_every_setting_has_an_entry_that_says_whether_it_decides_and_why() -> None:
    assert set(EFFECTS) == set(FIELDS), "a new setting needs an entry in stream/deciding_settings.py"
    assert all(effect.why for effect in EFFECTS.values())


@pytest.mark.parametrize("name", FIELDS)
def test_the_hash_follows_each_setting_that_decides_and_no_other(name: str) -> None:
    changed = msgspec.structs.replace(Settings(), **{name: other_value(name)})
    assert (deciding_settings(changed).hash != deciding_settings(Settings()).hash) is EFFECTS[name].decides


def test_no_secret_and_no_place_that_may_hold_one_is_in_the_lines() -> None:
    assert not any(EFFECTS[name].decides for name in SECRETS)


def test_the_hash_is_that_of_the_sorted_lines() -> None:
    found = deciding_settings(Settings(features="b.rows", future_skew=0.5))
    own = ("FRAUDSTREAM_FEATURES=b.rows", "FRAUDSTREAM_FUTURE_SKEW=0.5")
    assert found.lines == (*own, "FRAUDSTREAM_ID_SHAPES=", "FRAUDSTREAM_REDIS_DOWN=wait")
    assert found.hash == hashlib.sha256("\n".join(found.lines).encode()).digest()[:4].hex()
    assert hash_of(reversed(found.lines)) == found.hash


def test_settings_that_differ_are_named_with_their_values_and_who_has_them() -> None:
    lines = {"w-2": ("A=1", "B=2"), "w-1": ("A=1", "B=3"), "w-3": ("A=1", "B=2"), "old": ("A=1",)}
    assert differing(lines) == {"B": {"2": ["w-2", "w-3"], "3": ["w-1"], "not stated": ["old"]}}
    assert differing({"w-1": ("A=1",), "w-2": ("A=1",)}) == differing({}) == {}
