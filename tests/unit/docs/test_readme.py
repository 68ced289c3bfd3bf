"""The README and docs are correct: Python runs, JSON is accepted, commands parse, names and links exist."""

import re
import shlex
from pathlib import Path
from typing import Any, NamedTuple

import click
import msgspec
import numpy as np
import pytest

from features.declaration import load
from fraudstream.cli.main import main
from fraudstream_client.outputs import Score
from models.loading import Model
from models.loading import load as load_model
from models.policy import bands
from models.repository import Repository
from stream.contract.codes import Rejection
from stream.contract.transaction import ParsedTransaction, read_transaction
from stream.control.probes import vectorise_probe
from stream.settings import PREFIX, Settings
from support.command_lines import find_command
from support.fleet.payments import put_model
from support.page_blocks import blocks, console_lines
from support.paths import HOUSE

README = (HOUSE / "README.md").read_text()
OF_THE_CHECKOUT = (
    *("README.md", "CONTRIBUTING.md", "SECURITY.md", "examples/README.md"),
    *("clients/README.md", "clients/conformance/README.md", "clients/python/README.md"),
)
PAGES = {
    str(path.relative_to(HOUSE)): path.read_text()
    for path in [*(HOUSE / name for name in OF_THE_CHECKOUT), *(HOUSE / "docs").rglob("*.md")]
}


class Consumed(NamedTuple):
    """A record of the scores topic."""

    partition: int
    value: bytes | None


(TRANSACTION,) = (block.encode() for block in blocks(README, "json"))
SENT, SCORE, _ = (block.encode() for block in blocks(PAGES["docs/reference/records-and-topics.md"], "json"))


def commands() -> list[str]:
    """Return every command line that a page gives, in a console block or in its text."""
    found = set()
    for text in PAGES.values():
        lines = [line.removeprefix("$ ") for line in console_lines(text)]
        prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
        found |= {line for line in lines if line.startswith("fraudstream ")}
        found |= {code for code in re.findall(r"`(fraudstream [^`]+)`", prose) if "…" not in code}
    return sorted(found)


def scored(folder: str) -> tuple[Score, bytes]:
    """Make a score as a worker does, by a real model in the repository `folder`."""
    features, digest = load(None), put_model(folder)
    model = load_model(Repository(folder), digest, {features.fingerprint: vectorise_probe(features)})
    assert isinstance(model, Model)
    vector = np.random.default_rng(1).normal(size=(1, len(features)))
    vector[0, 3] = np.nan
    value = model.score(vector)
    score = msgspec.structs.replace(
        msgspec.json.decode(SCORE, type=Score),
        score=float(value[0]),
        decision=model.policy.decide(value)[0],
        features={n: None if np.isnan(v) else v for n, v in zip(features.names, vector[0].tolist(), strict=True)},
        model=msgspec.structs.replace(msgspec.json.decode(SCORE, type=Score).model, digest=digest),
    )
    return score, msgspec.json.encode(score)


def test_the_python_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _, encoded = scored("models-repository")
    stale = msgspec.json.encode(msgspec.structs.replace(msgspec.json.decode(encoded, type=Score), epoch=1))
    names: dict[str, Any] = {"records": [Consumed(4, encoded), Consumed(4, stale)]}
    examples = [*blocks(README, "python"), *blocks(PAGES["docs/how-to/replay-a-decision.md"], "python")]
    assert len(examples) == 3
    for example in examples:
        exec(compile(example, "an example", "exec"), names)  # noqa: S102 - our own page
    assert "1 void" in capsys.readouterr().out


def test_the_example_transaction_is_accepted_with_all_its_fields() -> None:
    read = read_transaction(TRANSACTION, msgspec.json.decode(TRANSACTION)["card_id"].encode(), 2**50)
    assert not isinstance(read, Rejection)
    assert isinstance(read, ParsedTransaction)
    assert (read.dropped, read.unknown) == ((), 0)
    assert SENT == TRANSACTION


def test_the_example_score_is_valid_and_belongs_to_the_example_transaction() -> None:
    fields, score = msgspec.json.decode(SCORE), msgspec.json.decode(SCORE, type=Score)
    every = {one.name for one in msgspec.structs.fields(Score) if one.default is not msgspec.UNSET} | {"settings"}
    assert set(fields) == every
    sent = msgspec.json.decode(TRANSACTION)
    assert {
        name: fields[name] for name in ("transaction_id", "card_id", "merchant_id", "amount_minor", "currency")
    } == {name: sent[name] for name in ("transaction_id", "card_id", "merchant_id", "amount_minor", "currency")}
    assert score.score is not None
    assert bands(np.array([score.score])).tolist() == [score.band]
    assert set(score.features or ()) <= set(load(None).names)
    assert score.fingerprint == load(None).fingerprint


def test_every_command_line_of_the_pages_parses() -> None:
    lines = commands()
    assert {"fraudstream worker", "fraudstream topics apply --partitions 12 --replication 3"} <= set(lines)
    assert {line: problem for line in lines if (problem := problem_of(line))} == {}


def problem_of(line: str) -> str | None:
    command = line.partition(" > ")[0]
    words = [word for word in shlex.split(command, comments=True)[1:] if not re.fullmatch(r"\[.*\]", word)]
    try:
        context, rest = find_command(main, words)
        if rest and not isinstance(context.command, click.Group):
            context.command.parse_args(context, stand_ins(context.command, rest))
    except click.ClickException as error:
        return error.format_message()
    return None


def stand_ins(command: click.Command, words: list[str]) -> list[str]:
    """Replace a page's placeholders by values that parse, and a file that must exist by one that does."""
    kinds = [param.type for param in command.params]
    must_exist = any(isinstance(kind, click.Path) and kind.exists for kind in kinds)
    named = {"MODEL": "0123abcd", "TIME": "2026-01-31T12:00:00Z"}
    numbers = [
        re.sub(r"\b(PARTITION|OFFSET|N|MODEL|TIME)\b", lambda found: named.get(found[1], "8"), word) for word in words
    ]
    return [
        str(HOUSE / "LICENSE") if must_exist and re.search(r"\bFILE\b|\.(csv|json|parquet|toml|txt)$", w) else w
        for w in numbers
    ]


def test_every_variable_that_a_page_names_is_read_by_the_code() -> None:
    settings = {f"{PREFIX}{field.name.upper()}" for field in msgspec.structs.fields(Settings)}
    readers = [
        HOUSE / "hatch_build.py",
        *(HOUSE / "fraudstream/cli").glob("*.py"),
        *(HOUSE / "tests/support").rglob("*.py"),
    ]
    others = "\n".join(path.read_text() for path in readers)
    named = {(page, name) for page, text in PAGES.items() for name in re.findall(rf"\b{PREFIX}[A-Z_]*[A-Z]", text)}
    assert [(page, name) for page, name in named if name not in settings and f'"{name}"' not in others] == []


def test_every_make_target_that_a_page_names_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (HOUSE / "Makefile").read_text(), re.MULTILINE))
    named = [(page, name) for page, text in PAGES.items() for name in re.findall(r"`make ([a-z-]+)", text)]
    assert [(page, name) for page, name in named if name not in targets] == []


def test_every_link_and_every_path_of_a_page_exists() -> None:
    missing = []
    for page, text in PAGES.items():
        here = (HOUSE / page).parent
        links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
        paths = re.findall(r"`((?:stream|features|models|shadow|tests|docs)/[\w./-]+)`", text)
        missing += [(page, link) for link in links if link and not (here / link).resolve().exists()]
        missing += [(page, path) for path in paths if not (HOUSE / path).exists()]
    assert missing == []
