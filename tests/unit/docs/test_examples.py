"""The README of the examples has the commands that `make acceptance` runs, and payments that are accepted."""

import json
import re
import shlex
from typing import Any, NamedTuple

import pytest

from fraudstream_client.validity import Standing, place_of
from models.let_through import LetThrough
from stream.contract.transaction import ParsedTransaction, read_transaction
from support.example_commands import BUILD_GO, BUILD_JARS, CLIENTS
from support.paths import HOUSE

EXAMPLES = HOUSE / "examples"
README = (EXAMPLES / "README.md").read_text()
COMMANDS = [line for line in README.splitlines() if line.startswith("$ ")]


class StoredRow(NamedTuple):
    """The row of a valid score in a consumer's own table."""

    partition: int
    epoch: int
    log: int
    source_offset: int


@pytest.mark.parametrize("name", CLIENTS)
def test_the_readme_has_the_two_commands_of_each_client(name: str) -> None:
    client = CLIENTS[name]
    assert f"$ {shlex.join(client.producer)} localhost:9092 transactions examples/payments.jsonl" in COMMANDS
    assert f"$ {shlex.join(client.consumer)} localhost:9092 scores decisions.jsonl" in COMMANDS


def test_the_readme_has_the_commands_that_build_the_programs() -> None:
    assert {f"$ {shlex.join(command)}" for command in (BUILD_JARS, BUILD_GO)} <= set(COMMANDS)


def test_every_command_of_the_readme_is_run_by_a_test() -> None:
    assert len(COMMANDS) == 2 * len(CLIENTS) + len((BUILD_JARS, BUILD_GO))


def test_the_guide_makes_standings_of_the_rows_of_a_table() -> None:
    guide = (HOUSE / "docs/how-to/consume-decisions.md").read_text()
    (block,) = re.findall(r"^```python\n(standings = .*?)^```$", guide, re.DOTALL | re.MULTILINE)
    rows = [StoredRow(partition=4, epoch=9, log=1, source_offset=7), StoredRow(0, 3, 0, 5)]
    names: dict[str, Any] = {"last_rows": rows, "Standing": Standing, "place_of": place_of}
    exec(compile(block, "the guide", "exec"), names)  # noqa: S102 - our own page
    assert names["standings"] == {4: Standing(9, place_of(1, 7)), 0: Standing(3, 5)}


def test_the_payments_of_the_examples_are_accepted_with_all_their_fields() -> None:
    lines = (EXAMPLES / "payments.jsonl").read_bytes().splitlines()
    read = [read_transaction(line, json.loads(line)["card_id"].encode(), 2**50) for line in lines]
    accepted = [one for one in read if isinstance(one, ParsedTransaction) and (one.dropped, one.unknown) == ((), 0)]
    assert len(accepted) == len(lines) > 1
    assert len({one.transaction.transaction_id for one in accepted}) == len(lines)


def test_the_guide_draws_the_lots_that_a_worker_draws() -> None:
    guide = (HOUSE / "docs/how-to/let-declines-through.md").read_text()
    (block,) = re.findall(r"^```python\n(.*?)^```$", guide, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(compile(block, "the guide", "exec"), names)  # noqa: S102 - our own page
    rule = LetThrough(2_500, {"EUR": 1}, "s", 1)
    ids = [f"pay-{number}-ü" for number in range(200)]
    drawn = [names["is_let_through"](one, "s", 2_500) for one in ids]
    assert drawn == [rule.takes(one) for one in ids]
    assert 0 < sum(drawn) < len(ids)
