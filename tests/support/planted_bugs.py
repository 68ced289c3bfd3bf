"""Thirty planted bugs, each of which breaks one named promise, with the test that finds it.

`python tests/support/planted_bugs.py run` plants each of them in a copy of the present commit and runs its test, which
must fail; with `--tree` it does so in another checkout, of an earlier layout too.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # run as a program, this has to find `support`
from support.planting import Checkout, PlantedBug, UnusableTreeError, copied, run, show

DECIDED_ONCE, HISTORIES, LINEUP, GUARD, VERDICT = "decided once", "histories", "lineup", "guard", "verdict"
WRONG_USE = 2

BUGS = (
    PlantedBug(
        name="same place twice",
        area=DECIDED_ONCE,
        promise="A score is valid only if its place is above that of the last valid score.",
        file="clients/python/fraudstream_client/validity.py",
        text="epoch >= self.highest_epoch and place > self.last_place",
        wrong="epoch >= self.highest_epoch and place >= self.last_place",
        found_by="tests/unit/clients/test_validity.py::test_a_standing_decides_validity_as_the_whole_partition_does",
    ),
    PlantedBug(
        name="epoch of a void score",
        area=DECIDED_ONCE,
        promise="The highest epoch so far is that of all scores, void ones included.",
        file="clients/python/fraudstream_client/validity.py",
        text="return Standing(max(self.highest_epoch, epoch), last_place)",
        wrong="return Standing(epoch if self.is_valid(epoch, place) else self.highest_epoch, last_place)",
        found_by="tests/unit/clients/test_validity.py::test_the_epoch_of_a_void_score_raises_the_highest_epoch",
    ),
    PlantedBug(
        name="attempts of two owners",
        area=DECIDED_ONCE,
        promise="A new owner begins at a multiple of 2^10, above all attempts of the owners before.",
        file="models/terms.py",
        text="above - above % _EPOCHS_OF_A_GENERATION",
        wrong="above - LAST_ATTEMPT",
        found_by="tests/unit/models/test_terms.py::"
        "test_an_owner_begins_with_the_first_attempt_of_its_generation_or_above_all_that_was_seen",
    ),
    PlantedBug(
        name="resume past what is applied",
        area=DECIDED_ONCE,
        promise="A partition is read on where all before is decided and applied, whichever of both reaches further.",
        file="stream/positions/losses.py",
        text="applied = min(certain) if",
        wrong="applied = max(certain) if",
        found_by="tests/unit/stream/positions/test_losses.py::"
        "test_a_partition_goes_on_at_its_commit_but_never_behind_the_last_decision",
    ),
    PlantedBug(
        name="repeat within a batch",
        area=DECIDED_ONCE,
        promise="A transaction that the producer sends twice gets one decision, also within one batch.",
        file="features/history/append.py",
        text="if i in present or ids[i] in appended or expired:",
        wrong="if i in present or expired:",
        found_by="tests/contract/features/test_store.py::test_trap_2_a_transaction_twice_in_one_batch_is_appended_once[memory]",
    ),
    PlantedBug(
        name="scores without their letters",
        area=DECIDED_ONCE,
        promise="Dead letters are acknowledged before the scores of their batch are written.",
        file="stream/worker/outputs.py",
        text="published)\n                return written\n",
        wrong="published)\n",
        found_by="tests/unit/stream/worker/test_outputs.py::"
        "test_dead_letters_that_cannot_be_written_hold_up_their_partitions_alone",
    ),
    PlantedBug(
        name="commit before acknowledgement",
        area=DECIDED_ONCE,
        promise="Offsets are committed only once the brokers have acknowledged their scores.",
        file="stream/worker/outputs.py",
        text="""published.failures | {
        where: f"{where[0]} {where[1]} has not acknowledged its records yet" for where in published.pending
    }""",
        wrong="published.failures",
        found_by="tests/unit/stream/worker/test_outputs.py::"
        "test_a_write_that_is_still_going_on_is_named_and_can_be_waited_for",
    ),
    PlantedBug(
        name="hand-over of any later term",
        area=DECIDED_ONCE,
        promise="A hand-over begins the next term and no other; one that does not is void.",
        file="models/terms.py",
        text="event.term != self.number + 1)",
        wrong="(event.term or 0) <= self.number)",
        found_by="tests/unit/models/test_terms.py::test_a_hand_over_that_does_not_make_the_next_term_is_void",
    ),
    PlantedBug(
        name="lawful refusal is late",
        area=DECIDED_ONCE,
        promise="A refused offset stays refused: a letter about one that the owner before had passed is not late.",
        file="stream/positions/letters.py",
        text="(sources > claim.behind)",
        wrong="(sources >= claim.behind)",
        found_by="tests/unit/stream/positions/test_letters.py::test_columns_say_of_each_letter_what_it_says_itself",
    ),
    PlantedBug(
        name="redriven twice",
        area=DECIDED_ONCE,
        promise="An original that was sent again is known by its place and content, and is not sent once more.",
        file="fraudstream/ops/repair/kept_letters.py",
        text="original = self._found.get(letter.source, letter.record)",
        wrong="original = letter.record",
        found_by="tests/unit/fraudstream/ops/repair/test_kept_letters.py::"
        "test_what_was_sent_before_is_known_by_its_original_where_the_letter_keeps_no_value",
        instead="tests/integration/stream/worker/test_redrive.py::"
        "test_a_dead_letter_is_sent_again_once_and_one_whose_original_is_gone_is_refused",
    ),
    PlantedBug(
        name="sees later arrivals",
        area=HISTORIES,
        promise="What a decision saw is a prefix of the log: no record that arrived later.",
        file="features/history/history.py",
        text="return self._buffer, 0, position - self.base + 1, self._address",
        wrong="return self._buffer, 0, self.length, self._address",
        found_by="tests/unit/features/history/test_order.py::"
        "test_a_transaction_in_its_place_sees_records_before_it_and_a_displaced_one_lower_offsets",
    ),
    PlantedBug(
        name="pane one too early",
        area=HISTORIES,
        promise="Whether a history is already compacted into panes changes no bit of a feature.",
        file="features/history/compaction.py",
        text="-(-times_ms // coarse_ms) * coarse_ms",
        wrong="times_ms // coarse_ms * coarse_ms",
        found_by="tests/unit/features/history/test_panes.py::"
        "test_compacting_the_largest_amounts_into_several_rows_of_a_pane_changes_no_value",
    ),
    PlantedBug(
        name="horizon off by one",
        area=HISTORIES,
        promise="A transaction as old as its card's horizon has expired: it is too late.",
        file="features/history/rules.py",
        text="if time_ms <= newest_ms - horizon_ms:",
        wrong="if time_ms < newest_ms - horizon_ms:",
        found_by="tests/contract/features/test_store.py::"
        "test_a_transaction_as_old_as_the_horizon_is_too_late_and_not_counted[memory]",
    ),
    PlantedBug(
        name="late by what came later",
        area=HISTORIES,
        promise="A repair gives a transaction its first fate: later offsets of its partition do not make it late.",
        file="features/history/rules.py",
        text=" & ~records.came_later(rows, row)",
        wrong="",
        found_by="tests/unit/features/history/test_order.py::"
        "test_a_transaction_that_arrived_in_time_is_not_too_late_when_it_is_reapplied",
    ),
    PlantedBug(
        name="label known by its offset",
        area=HISTORIES,
        promise="A label is applied once, however often it is sent.",
        file="features/history/records.py",
        text="{label.fraud:d}:{label.reported_by}",
        wrong="{label.fraud:d}:{label.reported_by}:{label.offset}",
        found_by="tests/unit/features/history/test_records.py::"
        "test_a_labels_id_covers_its_content_but_neither_its_source_offset_nor_its_merchant",
    ),
    PlantedBug(
        name="hashes of the key before",
        area=HISTORIES,
        promise="With another hash key all hashes of ids are others at once.",
        file="features/history/records.py",
        text="for cached in (card_hash, merchant_hash, device_hash, prediction_name_hash):",
        wrong="for cached in (card_hash, merchant_hash, prediction_name_hash):",
        found_by="tests/unit/features/history/test_hash_key.py::test_with_another_key_no_kind_of_hash_stays_as_it_was",
        instead="tests/unit/features/history/test_hash_key.py::"
        "test_another_key_gives_other_hashes_at_once_and_the_same_one_the_same",
    ),
    PlantedBug(
        name="revision skipped",
        area=LINEUP,
        promise="An acceptance whose revision is not the next one is void.",
        file="models/lineup.py",
        text="event.revision != lineup.revision + 1:",
        wrong="event.revision <= lineup.revision:",
        found_by="tests/unit/models/test_lineup.py::test_an_event_with_a_stale_or_future_revision_is_void",
    ),
    PlantedBug(
        name="seal of the events alone",
        area=LINEUP,
        promise="A snapshot's seal covers its first line as well as its events.",
        file="models/snapshot.py",
        text='b"%s%s\\n%s" % (_DOMAIN, unsealed, body)',
        wrong='b"%s%s\\n%s" % (_DOMAIN, b"", body)',
        found_by="tests/unit/models/test_snapshot.py::test_a_seal_holds_for_the_first_line_as_well_as_for_the_events",
        instead="tests/unit/models/test_snapshot.py::"
        "test_one_that_somebody_without_the_key_wrote_or_changed_is_not_used",
    ),
    PlantedBug(
        name="revision from the future",
        area=LINEUP,
        promise="A command is accepted only at the revision that it expects.",
        file="models/judge.py",
        text="command.expected_revision != lineup.revision:",
        wrong="command.expected_revision < lineup.revision:",
        found_by="tests/unit/models/test_judge.py::test_an_impossible_command_is_refused_with_the_code_of_its_problem",
    ),
    PlantedBug(
        name="bucket by other bytes",
        area=LINEUP,
        promise="A card's arm follows from the big-endian hash of its id, so that anyone can compute it.",
        file="clients/python/fraudstream_client/arms.py",
        text="return int.from_bytes(digest) % WHOLE_BP",
        wrong='return int.from_bytes(digest, "little") % WHOLE_BP',
        found_by="tests/unit/models/test_arms.py::test_a_cards_bucket_is_that_of_the_contract",
    ),
    PlantedBug(
        name="record not asked on the way back",
        area=LINEUP,
        promise="The judge asks the record of each model that a command makes live, whichever command it is.",
        file="models/judge.py",
        text='return {} if model is None else {"": StatedFacts(model)}',
        wrong="return {}",
        found_by="tests/unit/models/test_record_rules.py::test_an_arm_that_wins_is_a_promotion_and_live_may_always_win",
    ),
    PlantedBug(
        name="each approved fraud of a card",
        area=GUARD,
        promise="Each card's first bad event of a kind counts, and no other.",
        file="guards/state.py",
        text="if transaction in self._found and card not in cards:",
        wrong="if transaction in self._found:",
        found_by="tests/unit/guards/test_state.py::"
        "test_a_cards_first_approved_fraud_is_counted_under_the_share_and_arm_of_its_approval",
    ),
    PlantedBug(
        name="first rung without evidence",
        area=GUARD,
        promise="From the stated share on, that share included, a rung waits for evidence.",
        file="guards/ladder.py",
        text="if next_share_bp >= now.climb_from_bp",
        wrong="if next_share_bp > now.climb_from_bp",
        found_by="tests/unit/guards/test_ladder.py::"
        "test_a_rung_asks_for_evidence_from_the_stated_share_on_and_that_share_asks_too",
        instead="tests/unit/guards/test_ladder.py::"
        "test_it_climbs_only_upwards_and_only_if_time_is_over_coverage_and_evidence_suffice_and_nothing_is_held",
    ),
    PlantedBug(
        name="whole alpha for each side",
        area=GUARD,
        promise="Each side of a guard that has two has half of its alpha.",
        file="guards/report.py",
        text="rounded(spec.bound(2 if kind in TWO_SIDED else 1))",
        wrong="rounded(spec.bound())",
        found_by="tests/unit/guards/test_report.py::test_evidence_has_counts_e_bound_alpha_and_action_of_each_guard",
    ),
    PlantedBug(
        name="cool-down forgotten",
        area=GUARD,
        promise="Nothing climbs in the cool-down after a breach, whatever else happens meanwhile.",
        file="fraudstream/ops/rollout/guard/watched.py",
        text="breached_ms=at_ms if breached else past.breached_ms,",
        wrong="breached_ms=at_ms if breached else None,",
        found_by="tests/unit/fraudstream/ops/rollout/guard/test_finding.py::"
        "test_nothing_climbs_in_the_cool_down_after_a_breach",
    ),
    PlantedBug(
        name="checkpoint without its frauds",
        area=GUARD,
        promise="A guard that goes on from its checkpoint counts what one counts that was never stopped.",
        file="guards/checkpoint.py",
        text="    state.seek_all()\n    return state",
        wrong="    return state",
        found_by="tests/unit/guards/test_state.py::test_a_stored_state_goes_on_as_if_it_had_never_been_stored",
    ),
    PlantedBug(
        name="settled by those that wait",
        area=VERDICT,
        promise="Figures are of payments before the first that has not matured.",
        file="fraudstream/ops/rollout/outcomes/maturity.py",
        text='rows["occurred_ms"] < settled_before_ms)',
        wrong='rows["occurred_ms"] <= settled_before_ms)',
        found_by="tests/unit/fraudstream/ops/rollout/outcomes/test_maturity.py::"
        "test_a_payment_is_matured_by_its_label_or_by_its_age_and_a_decline_by_its_label_alone",
    ),
    PlantedBug(
        name="cards without their cohort",
        area=VERDICT,
        promise="Cards are observed by whole cohorts, when the last card of them is final.",
        file="fraudstream/ops/rollout/outcomes/first_days.py",
        text="int(np.searchsorted(cohorts, cohorts[opened[0]]))",
        wrong="int(opened[0])",
        found_by="tests/unit/fraudstream/ops/rollout/outcomes/test_first_days.py::"
        "test_a_cohort_counts_when_its_last_card_is_final",
    ),
    PlantedBug(
        name="rejected without labels",
        area=VERDICT,
        promise="A REJECT needs its gates of coverage, opponent and labels.",
        file="fraudstream/ops/rollout/verdict/gates.py",
        text="{GateName.COVERAGE, GateName.OPPONENT, GateName.LABELS} & set(failed)",
        wrong="{GateName.COVERAGE, GateName.OPPONENT} & set(failed)",
        found_by="tests/unit/fraudstream/ops/rollout/verdict/test_report.py::"
        "test_a_reject_needs_coverage_the_same_opponent_and_labels_and_no_other_gate",
        instead="tests/unit/fraudstream/ops/rollout/verdict/test_report.py::"
        "test_each_gate_holds_what_would_be_promoted",
    ),
    PlantedBug(
        name="currencies summed",
        area=VERDICT,
        promise="Losses are compared in one currency; amounts of others are not added.",
        file="fraudstream/ops/rollout/verdict/report.py",
        text="compare_losses(priced, known, read.as_of_ms, terms)",
        wrong="compare_losses(read.pairs, outcomes, read.as_of_ms, terms)",
        found_by="tests/unit/fraudstream/ops/rollout/verdict/test_report.py::"
        "test_the_currency_is_the_most_frequent_one_and_costs_must_be_stated_for_it",
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the arguments and run; return 0, 1 where a bug was not found, 2 where that cannot be told."""
    parser = argparse.ArgumentParser(description=__doc__)
    kinds = parser.add_subparsers(dest="kind", required=True)
    kinds.add_parser("list", help="print the bugs")
    running = kinds.add_parser("run", help="plant bugs, and print which test finds each")
    running.add_argument("names", nargs="*", metavar="NAME", help="the bugs; all if none is named")
    running.add_argument("--tree", type=Path, help="a clean checkout with a .venv of its own, in place of a copy")
    given = parser.parse_args(arguments)
    if given.kind == "list":
        for bug in BUGS:
            show(f"{bug.name} ({bug.area}): {bug.promise}\n    {bug.file}\n    {bug.found_by}")
        return 0
    by_name = {bug.name: bug for bug in BUGS}
    if unknown := [name for name in given.names if name not in by_name]:
        parser.error(f"no bug is called {', '.join(map(repr, unknown))}; `list` prints their names")
    bugs = [by_name[name] for name in given.names] or BUGS
    try:
        if given.tree is None:
            with copied() as tree:
                return 0 if run(bugs, tree) else 1
        tree = Checkout(given.tree.resolve(), given.tree.resolve() / ".venv/bin/python")
        tree.require_clean()
        return 0 if run(bugs, tree) else 1
    except UnusableTreeError as error:
        sys.stderr.write(f"{error}\n")
        return WRONG_USE


if __name__ == "__main__":
    sys.exit(main())
