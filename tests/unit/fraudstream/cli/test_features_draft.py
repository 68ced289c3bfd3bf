"""`features draft`, `check` and `list --cost` as a newcomer types them, up to a trained model."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fraudstream.cli.main import main
from support.foreign_file import OWN, foreign_file
from support.training_files import write
from support.working_folder import working_in


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    yield from working_in(tmp_path, monkeypatch)


def run(*arguments: str, module: str = "") -> Result:
    settings = {"FRAUDSTREAM_FEATURES": module, "FRAUDSTREAM_MODELS": "models", "COLUMNS": "160"}
    return CliRunner(env=settings).invoke(main, list(arguments))


def test_three_commands_lead_from_a_foreign_file_to_a_model_with_fields_of_its_own(here: Path) -> None:
    write(here / "export.csv", foreign_file(4_000, 60, fraud_share=0.1))
    drafted = run("features", "draft", "export.csv", "--output", "our_fields.py", "--write-to", "payments.parquet")
    assert drafted.exit_code == 0, drafted.output
    for said in (
        "txn_time",
        "status_after",
        "ROC AUC alone 1.000",
        "payments.parquet: 4,000 transactions",
        "our_fields",
    ):
        assert said in drafted.stdout
    checked = run("features", "check", module="our_fields")
    assert (checked.exit_code, checked.stdout) == (0, "our_fields: 4 fields, 59 rows, 0 formulas: nothing wrong\n")
    fixed = ("--trees", "10", "--threads", "1", "--accept-weak", "--json")
    trained = run("train", "payments.parquet", "--name", "cards", *fixed, module="our_fields")
    assert trained.exit_code == 0, trained.output
    report = json.loads(trained.stdout)
    assert (report["rows"], report["dropped"]) == (4_000, {})
    assert report["metrics"]["auc"] > 0.63
    shown = json.loads(run("model", "show", report["digest"], "--json", module="our_fields").stdout)
    assert {f"own_{name}" for name in OWN} <= set(json.dumps(shown).split('"'))


def test_without_an_output_the_module_is_printed_and_the_report_is_on_standard_error(here: Path) -> None:
    write(here / "export.parquet", foreign_file(3_000))
    result = run("features", "draft", "export.parquet", "--currency", "USD", "--column", "merchant_id=")
    assert result.exit_code == 0, result.output
    (here / "printed.py").write_text(result.stdout)
    assert run("features", "check", "printed").exit_code == 0
    assert "USD is taken for all payments" in result.stderr
    assert "name it by --column merchant_id=COLUMN" in " ".join(result.stderr.split())
    facts = json.loads(run("features", "draft", "export.parquet", "--json").stdout)
    assert facts["module"].startswith('"""Fields of one\'s own')
    assert (facts["rows"], facts["written"]) == (3_000, None)
    assert facts["left_out"][0]["ground"] == "leak"


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (("--output", "there.py"), 2, "is there already, perhaps edited"),
        (("--output", "our-fields.py"), 2, "is no module's file: name it like our_fields.py"),
        (("--output", "json.py"), 2, "there is a module of that name already"),
        (("--write-to", "export.csv"), 2, "is there already: name another file"),
        (("--write-to", "out.xlsx"), 2, "--write-to out.xlsx ends in '.xlsx'"),
        (("--currency", "EURO"), 2, "--currency EURO is no ISO 4217 code"),
        (("--column", "card=cc_hash"), 2, "write FIELD=COLUMN, with FIELD one of amount_minor, card_country"),
        (("--column", "card_id=cc_hsh"), 1, "has no column cc_hsh, did you mean cc_hash?"),
        (("--column", "occurred_at=shop"), 1, "the values of shop cannot be read as the time of a payment"),
        (("--column", "card_id=", "--write-to", "out.csv"), 1, "no column is known to be card_id"),
    ],
)
def test_what_cannot_be_drafted_is_refused_with_what_to_do(
    here: Path, options: tuple[str, ...], code: int, said: str
) -> None:
    write(here / "export.csv", foreign_file(600))
    (here / "there.py").write_text("edited")
    result = run("features", "draft", "export.csv", *options)
    assert result.exit_code == code, result.output
    assert said in " ".join(result.stderr.split())
    assert (here / "there.py").read_text() == "edited"


def test_a_file_that_is_no_table_of_payments_is_refused(here: Path) -> None:
    (here / "a.csv").write_text("a,b\n")
    (here / "b.parquet").write_text("no parquet")
    (here / "c.csv").write_text("a,b\n1,2\n")
    for name, said in (("a.csv", "holds no payment"), ("b.parquet", "cannot be read"), ("c.csv", "no column may be")):
        result = run("features", "draft", name)
        assert (result.exit_code, result.stdout) == (1, "")
        assert said in result.stderr
    assert run("features", "draft", "missing.csv").exit_code == 2


def test_the_check_ends_with_1_and_has_all_problems_in_its_json(here: Path) -> None:
    (here / "bad.py").write_text(
        "from fraudstream.features import flag, number, own\n"
        "FIELDS = (number('Bad'), flag('fraud'), flag('fine'))\nFEATURES = (own('none'),)\n"
    )
    result = run("features", "check", "bad")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == "bad: 2 fields, 1 rows, 0 formulas: 3 problems"
    found = json.loads(run("features", "check", "bad", "--json").stdout)
    assert found["valid"] is False
    assert [len(found["modules"][0][name]) for name in ("problems", "warnings")] == [3, 1]
    assert json.loads(run("features", "check", "--json").stdout)["valid"] is True


def test_the_cost_of_each_row_is_listed_with_how_it_was_measured(here: Path) -> None:
    (here / "few.py").write_text(
        "from fraudstream.features import card, number, own\n"
        "FIELDS = (number('age', unit='days'),)\nFEATURES = (card('count', '1d'), own('age'))\n"
    )
    result = run("features", "list", "--cost", "--set", "few")
    assert result.exit_code == 0, result.output
    for said in ("card_count_1d", "own_age", "fixed part of a card", "the whole set", "medians of 9 rounds"):
        assert said in result.stdout
    facts = json.loads(run("features", "list", "--cost", "--set", "few", "--json").stdout)
    assert [row["name"] for row in facts["cost"]["rows"]] == [row["name"] for row in facts["features"]]
    assert facts["cost"]["event_bytes"] == 120
