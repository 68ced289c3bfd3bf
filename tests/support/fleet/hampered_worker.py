"""A worker whose clock is wrong by what a file says, or that refuses ids which workers before it have accepted.

The file that FRAUDSTREAM_TEST_CLOCK names has the milliseconds to add to the clock; it is read at each look. With
FRAUDSTREAM_TEST_RULE, a card or a merchant whose id begins with that text is refused, as by a rule of a later version.
"""

import os
import sys
from pathlib import Path
from typing import Any

import stream.clock

COMMAND = (sys.executable, str(Path(__file__).resolve()), "worker")
CLOCK, RULE = "FRAUDSTREAM_TEST_CLOCK", "FRAUDSTREAM_TEST_RULE"

_now_ms = stream.clock.now_ms


def _wrong_now_ms() -> int:
    return _now_ms() + int(Path(os.environ[CLOCK]).read_text() or 0)


def _plant_rule(prefix: str) -> None:
    from stream.contract import transaction  # noqa: PLC0415 - the clock is set before anything reads it
    from stream.id_rules import IdRules  # noqa: PLC0415 - likewise

    is_clean, refuses = transaction._is_clean, IdRules.refuses

    def _is_clean(one: transaction.Transaction, ids: IdRules | None) -> bool:
        ruled = ids is not None and (one.card_id.startswith(prefix) or one.merchant_id.startswith(prefix))
        return not ruled and is_clean(one, ids)

    def _refuses(self: IdRules, name: str, value: str, *rest: Any) -> bool:
        return value.startswith(prefix) or refuses(self, name, value, *rest)

    transaction._is_clean = _is_clean
    IdRules.refuses = _refuses  # type: ignore[method-assign]


if __name__ == "__main__":
    if CLOCK in os.environ:
        stream.clock.now_ms = _wrong_now_ms
    from fraudstream.cli.main import main

    if RULE in os.environ:
        _plant_rule(os.environ[RULE])
    main()
