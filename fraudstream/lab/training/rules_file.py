"""Read a file of rules, TOML or JSON, in which cards are tokens: card numbers are refused."""

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from fraudstream.lab.training.request import RulesFileError
from models.expected import without_pattern
from models.list_rules import RuleSet
from stream.redaction import holds_card_number

LARGEST_BYTES = 16 * 1024 * 1024


def read_rules(path: Path) -> RuleSet:
    """Read the rules of a file that ends in .toml or .json.

    Raises:
        RulesFileError: it cannot be read, holds no rules, or holds a card number.
    """
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise RulesFileError(f"{path}: has more than {LARGEST_BYTES:,} bytes: lists of cards belong into features")
        rules = msgspec.convert(_decoded(path), RuleSet)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, msgspec.DecodeError) as error:
        raise RulesFileError(f"{path}: {without_pattern(error)}") from error
    if problems := list(_card_numbers(rules)):
        raise RulesFileError("\n".join(f"{path}: {problem}" for problem in problems))
    return rules


def _decoded(path: Path) -> Any:  # noqa: ANN401 - what the file holds
    if path.suffix == ".toml":
        return tomllib.loads(path.read_text(encoding="utf-8"))
    if path.suffix == ".json":
        return msgspec.json.decode(path.read_bytes())
    raise RulesFileError(f"{path}: ends in {path.suffix!r}: expected .toml or .json")


def _card_numbers(rules: RuleSet) -> Iterator[str]:
    """Yield each rule that lists card numbers; the message does not repeat them."""
    for rule in rules.rules:
        texts = (*rule.cards, *rule.merchants)
        if count := sum(map(holds_card_number, texts)):
            yield (
                f"rule {rule.name}: {count} of its entries are card numbers; list the tokens that payments carry in "
                "card_id and merchant_id"
            )
