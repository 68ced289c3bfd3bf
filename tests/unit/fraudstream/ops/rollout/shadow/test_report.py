import io
import tracemalloc
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from fraudstream.cli.main import main
from fraudstream.cli.shadow import _since_ms, facts
from fraudstream.demo.scoreboard import Place
from fraudstream.ops.report.terminal import on_terminal
from fraudstream.ops.rollout.shadow.report import ExpectedComparisons, ShadowReport, _is_expected, _readable, choose
from fraudstream.ops.rollout.shadow.sections import state_shadow
from fraudstream_client.outputs import Decision, Overruled, Score
from models.times import format_time
from shadow.comparison import Comparison, Side, Source, encode_comparison
from shadow.history import ChallengerHistory, ShadowTerm, Totals
from shadow.tally import Tally
from stream.errors import ReportError
from support.demo_scores import score
from support.shadow_cases import accepted

LIVE, CHALLENGER = "a" * 64, "b" * 64
UNTIL_MS = 9_000


def comparison(
    offset: int, live: Decision, challenger: Decision, amount_minor: int, currency: str = "EUR"
) -> Comparison:
    return Comparison(
        transaction_id=f"t-{offset}",
        card_id="c",
        occurred_at="2026-01-01T00:00:00.000Z",
        amount_minor=amount_minor,
        currency=currency,
        live=Side(LIVE, 0.25, 600, live),
        challenger=Side(CHALLENGER, 0.5, 700, challenger),
        decision_changed=live is not challenger,
        revision=1,
        source=Source("transactions", 0, offset),
        compared_at="2026-01-01T00:00:00.000Z",
        deployment="default",
    )


def decision(offset: int, **changes: Any) -> Score:
    return score(f"t-{offset}", Place(0, offset), revision=1, **changes)


def report(some: list[Comparison], missed: Totals, eligible: int, astride: Totals = Totals()) -> ShadowReport:  # noqa: B008 - frozen
    told, term = Tally.of(some), ShadowTerm(CHALLENGER, 0, UNTIL_MS)
    return ShadowReport(CHALLENGER, term, True, 0, 1, eligible, missed, astride, told, 0)  # noqa: FBT003 - a named tuple


SOME = [
    comparison(0, Decision.APPROVE, Decision.REVIEW, 123_456),
    comparison(1, Decision.APPROVE, Decision.REVIEW, 44),
    comparison(2, Decision.DECLINE, Decision.APPROVE, 700, "JPY"),
    comparison(3, Decision.APPROVE, Decision.APPROVE, 1),
]


def test_report_facts_give_counts_coverage_swaps_and_score_shifts() -> None:
    told = facts(report(SOME, Totals(skipped=3, failed=2), 10))
    assert [told[name] for name in ("eligible", "compared", "skipped", "failed", "unexplained")] == [10, 4, 3, 2, 1]
    assert (told["coverage"], told["changed"], told["live"]) == (0.4, 3, {LIVE: 4})
    assert (told["in_shadow"], told["in_shadow_until"]) == (True, format_time(UNTIL_MS))
    assert sum(swap["events"] for swap in told["swaps"]) == 4
    (swap,) = [one for one in told["swaps"] if (one["live"], one["challenger"]) == ("approve", "review")]
    assert (swap["events"], swap["amount_minor"]) == (2, {"EUR": 123_500, "JPY": 0})
    assert told["decisions"]["review"] == {"live": 0, "challenger": 2}
    assert told["shift"]["mean"] == told["shift"]["mean_absolute"] == 0.25
    assert told["shift"]["bands"] == {"p1": 100, "p50": 100, "p99": 100}


def shown(found: ShadowReport) -> str:
    out = io.StringIO()
    Console(file=out, width=120, highlight=False).print(on_terminal(state_shadow(found), has_page=False))
    return out.getvalue()


@pytest.mark.parametrize(
    ("some", "eligible", "headline"),
    [
        ([], 0, "Too early to say: no decision had to be compared yet"),
        ([], 7, "Too early to say: none of 7 decisions was compared"),
        (SOME, 4, "Different: it would have decided 3 of 4 payments otherwise (75.00 %)"),
        (SOME[3:], 1, "Alike: it would have decided 0 of 1 payments otherwise"),
    ],
)
def test_the_headline_says_what_is_known(some: list[Comparison], eligible: int, headline: str) -> None:
    assert state_shadow(report(some, Totals(), eligible)).facts() == {"headline": headline}


@pytest.mark.parametrize(("eligible", "perhaps", "unexplained"), [(1_000, 900, 91), (100, 91, 0), (9, 0, 0), (4, 0, 0)])
def test_misses_of_periods_that_span_the_window_start_count_at_most_the_unreported_decisions(
    eligible: int, perhaps: int, unexplained: int
) -> None:
    found = report(SOME, Totals(skipped=3, failed=2), eligible, Totals(skipped=890, failed=10))
    told, text = facts(found), shown(found)
    assert told["astride"] == {"skipped": 890, "failed": 10, "counted": perhaps}
    assert (told["skipped"], told["failed"], told["unexplained"]) == (3, 2, unexplained)
    assert "890 skipped and 10 failed for periods that begin before this window" in " ".join(text.split())
    assert any(line.startswith("Skipped or failed, at most") and f" {perhaps} " in line for line in text.splitlines())


def test_an_empty_report_has_neither_coverage_nor_mean_shift() -> None:
    empty = report([], Totals(), 0)
    assert "against nobody yet" in shown(empty)
    assert (facts(empty)["coverage"], facts(empty)["shift"]["mean"]) == (None, None)


def test_choose_returns_the_current_or_the_named_challenger_or_raises() -> None:
    none = ChallengerHistory.of("default", [accepted(1, "promote", LIVE, 1)])
    with pytest.raises(ReportError, match="no model is in the shadow: `fraudstream model challenge MODEL`"):
        choose(none, None, 0)
    watched = ChallengerHistory.of(
        "default", [accepted(1, "promote", CHALLENGER, 1), accepted(2, "promote", LIVE, 2, UNTIL_MS)]
    )
    assert choose(watched, None, UNTIL_MS - 1) == CHALLENGER
    with pytest.raises(ReportError, match=f"--digest reports on an earlier one: {CHALLENGER[:12]}"):
        choose(watched, None, UNTIL_MS)
    assert choose(watched, "bbbbbbbb", UNTIL_MS) == CHALLENGER
    with pytest.raises(ReportError, match="none of them begins with 'cccccccc'"):
        choose(watched, "cccccccc", 0)


@given(st.lists(st.integers(0, 30), max_size=40), st.sets(st.integers(0, 30)))
def test_an_expected_decision_is_matched_once_and_only_by_its_challenger(offsets: Any, wanted: Any) -> None:
    expected, some = ExpectedComparisons({}, 0), [comparison(offset, *[Decision.APPROVE] * 2, 1) for offset in offsets]
    for offset in sorted(wanted):
        expected.add(decision(offset))
    settled = [one.source.offset for one in some if _is_expected(expected, CHALLENGER, one)]
    assert sorted(settled) == sorted(wanted & set(offsets))
    assert not any(_is_expected(expected, LIVE, one) for one in some)
    assert expected.total == len(wanted) - len(settled)


@pytest.mark.parametrize(
    "void",
    [
        {"revision": 2},
        {"live": Side("c" * 64, 0.25, 600, Decision.APPROVE)},
        {"live": Side(None, None, None, Decision.APPROVE)},
        {"live": Side(LIVE, 0.25, 600, Decision.REVIEW)},
    ],
)
def test_the_comparison_of_a_void_decision_does_not_match_the_valid_decision(void: dict[str, Any]) -> None:
    expected, valid = ExpectedComparisons({}, 0), comparison(7, Decision.APPROVE, Decision.APPROVE, 1)
    expected.add(decision(7))
    assert not _is_expected(expected, CHALLENGER, msgspec.structs.replace(valid, **void))
    assert [_is_expected(expected, CHALLENGER, one) for one in (valid, valid)] == [True, False]


@pytest.mark.parametrize(("by", "became"), [("decline_cap", Decision.REVIEW), ("let_through", Decision.APPROVE)])
def test_a_decision_that_was_overruled_is_matched_by_what_its_model_said(by: str, became: Decision) -> None:
    expected, valid = ExpectedComparisons({}, 0), comparison(7, Decision.DECLINE, Decision.APPROVE, 1)
    expected.add(decision(7, decision=became, overruled=Overruled(by, Decision.DECLINE)))
    assert _is_expected(expected, CHALLENGER, valid)


def test_a_decision_by_rules_is_matched_only_by_a_comparison_without_a_live_model() -> None:
    expected, valid = ExpectedComparisons({}, 0), comparison(7, Decision.APPROVE, Decision.APPROVE, 1)
    expected.add(decision(7, model=None))
    assert not _is_expected(expected, CHALLENGER, valid)
    assert _is_expected(
        expected, CHALLENGER, msgspec.structs.replace(valid, live=Side(None, None, None, Decision.APPROVE))
    )


def test_expected_decisions_take_less_than_a_byte_each() -> None:
    expected, kinds = ExpectedComparisons({}, 0), list(Decision)
    tracemalloc.start()
    for offset in range(10_000):
        expected.add(decision(offset, decision=kinds[offset % 3]))
    assert expected.total == 10_000
    held, _ = tracemalloc.get_traced_memory()
    expected.offsets.clear()
    left, _ = tracemalloc.get_traced_memory()  # what others have allocated meanwhile
    tracemalloc.stop()
    assert 0 < held - left < 10_000


def test_unreadable_comparisons_are_skipped() -> None:
    assert _readable([b"", b"[", b"{}", b"\xff", encode_comparison(SOME[0])], "default") == [SOME[0]]


def test_comparisons_of_another_deployment_are_skipped() -> None:
    other = msgspec.structs.replace(SOME[1], deployment="green")
    assert _readable([encode_comparison(one) for one in (SOME[0], other)], "default") == [SOME[0]]
    assert _readable([encode_comparison(one) for one in (SOME[0], other)], "green") == [other]


def test_a_silent_decision_is_expected_too_unless_the_deployment_published_one_about_the_payment() -> None:
    expected = ExpectedComparisons({}, 0)
    for offset in (5, 6, 7):
        expected.add(decision(offset), silent=True)
    for offset in (3, 7):
        expected.supersede(decision(offset))
        expected.add(decision(offset))
    assert expected.total == 4
    some = [comparison(offset, Decision.APPROVE, Decision.APPROVE, 1) for offset in (3, 5, 6, 7, 7)]
    assert [_is_expected(expected, CHALLENGER, one) for one in some] == [True, True, True, True, False]


@pytest.mark.parametrize(
    "arguments",
    [
        ("--since", "yesterday"),
        *(("--minutes", minutes) for minutes in ("0", "1e9", "nan")),
        ("--minutes", "5", "--since", "2026-01-01T00:00:00Z"),
    ],
)
def test_an_invalid_report_window_is_a_usage_error(arguments: tuple[str, ...]) -> None:
    assert CliRunner().invoke(main, ["shadow", "report", *arguments]).exit_code == 2


def test_a_window_begins_in_1970_at_the_earliest() -> None:
    for since in ("1960-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z"):
        assert _since_ms(since, None) == 0
    assert _since_ms("1970-01-01T00:00:01Z", None) == 1_000
    assert _since_ms(None, 90 * 366 * 24 * 60.0) == 0
    assert (_since_ms(None, 1.0) or 0) > 0
