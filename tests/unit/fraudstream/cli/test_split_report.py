"""`fraudstream split report`: what it reads, what it refuses, and what it writes; and what is shown at the end."""

import json
from pathlib import Path

import numpy as np
import pytest
from aiokafka.errors import KafkaConnectionError

from fraudstream.cli import split, split_report
from fraudstream.ops.rollout.experiments import report
from fraudstream.ops.rollout.experiments.report import ExperimentChoice, ExperimentReport, ReadingPlan, report_of
from fraudstream.ops.rollout.experiments.terms import ExperimentTerms
from fraudstream.ops.rollout.outcomes.columns import ColumnNames
from fraudstream.ops.rollout.outcomes.labels import LABEL_ROW
from fraudstream.ops.rollout.outcomes.reader import ReadPayments
from guards.errors import OtherHashKeyError
from metrics.bootstrap import BootstrapPlan
from metrics.money import CostMatrix
from models.commands import CommandKind
from stream.control.client import CommandRequest
from stream.errors import ReportError
from stream.settings import Settings
from support.command_line import record_requests
from support.command_line import run_command as run
from support.control_events import accepted
from support.experiment_cases import EXPERIMENT, drawn_payments, rows_of
from support.outcome_cases import at_ms

ROWS = rows_of(drawn_payments(1, cards=100))
READ = ReadPayments(ROWS, ColumnNames(["EUR", "JPY"]), np.zeros(0, LABEL_ROW), at_ms(70.0), 0)


class Read:
    """Takes the place of reading the topics, and notes what was asked for."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.choices = list[ExperimentChoice]()
        self.terms = list[ExperimentTerms]()

    async def report(
        self, _settings: Settings, choice: ExperimentChoice, plan: ReadingPlan, _progress: object
    ) -> ExperimentReport:
        if self.error is not None:
            raise self.error
        self.choices.append(choice)
        self.terms.append(plan.make_terms(READ))
        found = report_of(ROWS, EXPERIMENT, self.terms[-1], ("EUR", "JPY"), BootstrapPlan(draws=20))
        return found._replace(cards_bp=plan.cards_bp)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> Read:
    one = Read()
    monkeypatch.setattr(split_report, "read_report", one.report)
    monkeypatch.setattr(report, "read_report", one.report)
    return one


def test_the_report_is_of_the_last_experiment_with_the_stated_defaults(read: Read) -> None:
    result = run("split", "report")
    assert result.exit_code == 0, result.output
    assert "\nnot yet: no arm loses less" in result.stdout
    assert "a review EUR 3.00, a wrong decline EUR 2.00 + 5%, an approved fraud its amount" in result.stdout
    assert read.choices == [ExperimentChoice()]
    (found,) = read.terms
    assert (found.currency, found.alpha, found.card_days, found.cap_minor) == (0, 0.05, 28.0, 50_000)
    assert found.maturity.maturity_days == 60.0


def test_options_say_by_what_an_experiment_is_judged(read: Read) -> None:
    options = ("--currency", "jpy", "--review-cost", "JPY 400", "--decline-cost", "JPY 250 + 3.5%", "--alpha", "0.01")
    more = ("--cap", "JPY 90000", "--card-days", "7", "--maturity-days", "30", "--cards", "10%", "--since", "5")
    result = run("split", "report", *options, *more, "--json")
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert (found["currency"], found["terms"]["cards_bp"], found["terms"]["alpha_each"]) == ("JPY", 1_000, 0.005)
    assert read.choices == [ExperimentChoice(None, 5)]
    (one,) = read.terms
    assert (one.costs, one.cap_minor, one.card_days) == (CostMatrix(400, 0, 250, 350), 90_000, 7.0)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--currency", "XYZ"), 2, "is not an ISO 4217 code"),
        (("--review-cost", "3.00"), 2, "is no cost such as"),
        (("--review-cost", "EUR 3", "--review-cost", "EUR 4"), 2, "a currency is given twice"),
        (("--decline-cost", "EUR 1 + 101%"), 2, "is more than the amount"),
        (("--cap", "EUR 0"), 2, "it must be above 0"),
        (("--label-share", "0%"), 2, "it must be above 0%"),
        (("--experiment", "2", "--since", "0"), 2, "both say which experiment"),
        (("--currency", "USD"), 1, "no payment of the experiment is in USD; they are in EUR, JPY"),
        (("--review-cost", "USD 3"), 1, "the report compares in EUR, but the review cost is stated for USD"),
    ],
)
def test_what_cannot_be_is_refused_with_what_to_do(
    read: Read, arguments: tuple[str, ...], code: int, message: str
) -> None:
    result = run("split", "report", *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr
    assert read.terms == []


def test_an_experiment_that_is_not_there_and_brokers_that_do_not_answer_end_it_with_1(read: Read) -> None:
    read.error = ReportError("no experiment has been run")
    assert (run("split", "report").exit_code, run("split", "report").stderr) == (1, "no experiment has been run\n")
    read.error = OtherHashKeyError("3 excluded cards are hashed with a key")
    assert (run("split", "report").exit_code, run("split", "report").stderr) == (1, f"{read.error}\n")
    read.error = KafkaConnectionError("no broker")
    assert run("split", "report").exit_code == 1


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[CommandRequest]:
    """The requests that are sent; each is accepted."""
    monkeypatch.setattr(split, "winners_evidence", lambda _winner, _revision, force: {})  # noqa: ARG005 - its name
    return record_requests(monkeypatch, lambda request: accepted(3, "end_split", "b" * 64, winner=request.winner))


def test_what_the_report_says_is_shown_at_the_end_of_an_experiment_and_kept(
    read: Read, sent: list[CommandRequest]
) -> None:
    result = run("model", "end-split", "--winner", "new")
    assert result.exit_code == 0
    assert "the report names no winner yet; you end it for new all the same" in result.stderr
    assert "not yet: no arm loses less" in result.stderr
    (request,) = sent
    assert request.kind is CommandKind.END_SPLIT
    assert request.evidence is not None
    assert request.evidence["report"]["winner"] is None
    assert request.evidence["report"]["experiment"] == EXPERIMENT.first
    assert len(json.dumps(request.evidence)) < 16_000
    assert len(read.choices) == 1


def test_to_end_it_for_live_reads_nothing(read: Read, sent: list[CommandRequest]) -> None:
    result = run("model", "end-split", "--winner", "live")
    assert (result.exit_code, result.stderr, read.choices) == (0, "", [])
    assert sent[0].evidence is None


def test_a_report_that_cannot_be_made_prevents_nothing(read: Read, sent: list[CommandRequest]) -> None:
    read.error = ReportError("no experiment has been run")
    result = run("model", "end-split", "--winner", "new")
    assert (result.exit_code, result.stderr) == (0, "the report says nothing: no experiment has been run\n")
    read.error = TimeoutError()
    assert "was not ready within 60 s" in run("model", "end-split", "--winner", "new").stderr
    read.error = KafkaConnectionError("no broker")
    assert "could not be read" in run("model", "end-split", "--winner", "new").stderr
    assert [one.evidence for one in sent] == [None] * 3


def test_a_report_by_other_terms_is_given_as_a_file(read: Read, sent: list[CommandRequest], tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text(run("split", "report", "--alpha", "0.2", "--json").stdout)
    result = run("model", "end-split", "--winner", "live", "--evidence", str(file))
    assert result.stderr == "the report names no winner yet; you end it for live all the same\n"
    assert sent[0].evidence is not None
    assert sent[0].evidence["report"]["terms"]["alpha"] == 0.2
    assert len(read.choices) == 1
    file.write_text("[]")
    refused = run("model", "end-split", "--winner", "live", "--evidence", str(file))
    assert (refused.exit_code, "is not what `split report --json` writes" in refused.stderr) == (2, True)
    file.write_text("{")
    assert run("model", "end-split", "--winner", "live", "--evidence", str(file)).exit_code == 2
