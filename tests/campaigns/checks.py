"""What must hold at the end of each seed, whatever was drawn: each check returns its violations, none if it holds."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from campaigns.facts import Answer, Letter, Place, Record, Use, Verdict
from campaigns.oracle import Fate, Fold

GRACE_MS = 5_000
"""After a demotion was accepted, for the workers to hear of it."""
LEADERLESS_MS = 5_000
"""More, where brokers are taken away: so long the control log may have no leader while `scores` have one."""
EXTRA_DESCRIPTORS = 8
"""More than before, for connections that pools keep open, and to brokers that a client had not needed yet."""
EXTRA_MEMORY_MB = 48
"""More than before the first step: 10 MB at most in fourteen seeds of six campaigns, 1 to 6 in most of them."""
SHOWN = 5
"""So many examples of a violation are told."""
CLOCK = "ahead_of_clock"
EITHER = {"early": {"in_the_future"}, "far": {CLOCK}, "late": {"too_late"}, "conflict": {"transaction_conflict"}}
"""Kinds of records that may be decided or refused with these codes, by settings and by what came before."""
BAD = "bad:"
"""Kinds of records that are always refused begin so; the code follows."""


@dataclass(frozen=True)
class Evidence:
    """All that the checks look at.

    `bounded` tells whether the brokers refuse timestamps far ahead, so that no payment may be refused for a clock.
    `degrades` tells whether workers go on without Redis, so that a repeat may be decided again, marked as incomplete.
    `grace_ms` is how long a demoted model may go on.
    `use` is what each worker's process used once it was well, and in the end. `diff` is what
    `score --topic --diff` printed, `audit` what `topics audit` did: its exit code and output, None if it is not there.
    `anomalies` are those that porcupine found in what readers of `scores` saw meanwhile,
    `read_late` the places on `scores` of what a late reader took for valid, None if there was none,
    `lost_inputs` the places of acknowledged records of `transactions` that are gone; `warnings` tell who warned of an
    unsafe setting before, and how.
    """

    records: Sequence[Record]
    fold: Fold
    verdicts: Sequence[Verdict]
    bounded: bool
    degrades: bool = False
    grace_ms: int = GRACE_MS
    use: Mapping[str, tuple[Use, Use]] = field(default_factory=dict)
    exits: Sequence[str] = ()
    unready: Sequence[str] = ()
    diff: Mapping[str, Any] = field(default_factory=dict)
    audit: tuple[int, str] | None = None
    labels: Sequence[Record] = ()
    answers: Sequence[Answer] = ()
    label_letters: Sequence[Letter] = ()
    label_losses: Sequence[Verdict] = ()
    anomalies: Sequence[str] = ()
    lost_inputs: Sequence[Place] = ()
    read_late: Collection[tuple[int, int]] | None = None
    warnings: Mapping[str, str] = field(default_factory=dict)


class Result(NamedTuple):
    """What has come of a seed: what the checks found, by their names, and its figures."""

    violations: Mapping[str, list[str]]
    figures: Mapping[str, Any]
    notes: tuple[str, ...]


def offsets_are_decided_or_refused(evidence: Evidence) -> Iterator[str]:
    """No offset is both, and one that is neither has a reason."""
    kinds = {record.place: record.kind for record in evidence.records}
    for fate in (Fate.BOTH, Fate.NEITHER):
        places = evidence.fold.places(fate)
        if places:
            shown = ", ".join(f"{described(place)} ({kinds[place]})" for place in places[:SHOWN])
            yield f"{len(places)} offsets are {fate}: {shown}"


def no_payment_is_lost(evidence: Evidence) -> Iterator[str]:
    """A record that the contract accepts is refused with no code that its kind allows, and a bad one with its own.

    A payment that was refused for a clock, and then contradicted by one that was decided, contradicts that one when it
    is sent again.
    """
    wrong: dict[str, list[Place]] = defaultdict(list)
    kinds = {record.place: record.kind for record in evidence.records}
    contradicted = {
        (one.card_id, one.transaction_id) for one in evidence.fold.valid if kinds.get(one.place) == "conflict"
    }
    for record in evidence.records:
        allowed = _allowed(record.kind, bounded=evidence.bounded)
        if (
            record.kind == "payment"
            and (record.fields.get("card_id"), record.fields.get("transaction_id")) in contradicted
        ):
            allowed |= EITHER["conflict"]
        for letter in evidence.fold.refusals.get(record.place, ()):
            if letter.code not in allowed:
                wrong[f"records of the kind {record.kind} were refused as {letter.code}"].append(record.place)
    for what, places in wrong.items():
        yield f"{len(places)} {what}: {', '.join(map(described, places[:SHOWN]))}"


def _allowed(kind: str, *, bounded: bool) -> set[str]:
    own = {kind.removeprefix(BAD)} if kind.startswith(BAD) else EITHER.get(kind, set())
    return set(own) if bounded else own | {CLOCK}


def no_bad_record_is_decided(evidence: Evidence) -> Iterator[str]:
    """A record that no contract accepts has no valid score."""
    bad = [record for record in evidence.records if record.kind.startswith(BAD)]
    decided = [one for one in bad if evidence.fold.fates[one.place] in {Fate.DECIDED, Fate.BOTH}]
    if decided:
        yield f"{len(decided)} bad records were decided: {', '.join(described(one.place) for one in decided[:SHOWN])}"


def no_payment_is_decided_twice(evidence: Evidence) -> Iterator[str]:
    """No offset has two valid scores, and no transaction of a card, on whichever log it was sent.

    Except, where workers go on without Redis: a repeat that its card's history did not know is marked.
    """
    by_place = Counter(score.place for score in evidence.fold.valid)
    by_payment: dict[tuple[str, str], list[Place]] = defaultdict(list)
    for score in sorted(evidence.fold.valid, key=lambda score: (score.partition, score.at)):
        if not (evidence.degrades and score.is_incomplete and score.payment in by_payment):
            by_payment[score.payment].append(score.place)
    if twice := [place for place, count in by_place.items() if count > 1]:
        yield f"{len(twice)} offsets were decided twice: {', '.join(map(described, twice[:SHOWN]))}"
    if several := {name: places for (_, name), places in by_payment.items() if len(places) > 1}:
        shown = [f"{name} at {' and '.join(map(described, places))}" for name, places in several.items()]
        yield f"{len(several)} payments were decided twice: {'; '.join(shown[:SHOWN])}"


def revisions_never_go_back(evidence: Evidence) -> Iterator[str]:
    """Within a term, the revision of a partition's valid scores only rises."""
    last: dict[tuple[int, int], int] = {}
    for score in sorted(evidence.fold.valid, key=lambda score: (score.partition, score.at)):
        before = last.setdefault((score.partition, score.term), score.revision)
        if score.revision < before:
            yield f"partition {score.partition} went back from revision {before} to {score.revision} at {score.offset}"
        last[score.partition, score.term] = score.revision


def no_demoted_model_decides(evidence: Evidence) -> Iterator[str]:
    """A model decides nothing after its demotion was known, until it is made live again."""
    for digest, since, until in _demoted(evidence.verdicts):
        late = [
            score
            for score in evidence.fold.valid
            if score.digest == digest and since + evidence.grace_ms < score.scored_at_ms < until
        ]
        if late:
            seconds = (max(score.scored_at_ms for score in late) - since) / 1000
            yield f"{len(late)} payments were decided by {digest[:8]} up to {seconds:.1f} s after its demotion"


def _demoted(verdicts: Sequence[Verdict]) -> Iterator[tuple[str, int, float]]:
    """Yield each demoted model, with the times at which its demotion began and ended."""
    live: str | None = None
    for at, verdict in enumerate(verdicts):
        if verdict.command not in {"promote", "roll_back", "demote"} or verdict.model is None:
            continue
        if verdict.command == "demote" and live is not None and live != verdict.model:
            again = [one.at_ms for one in verdicts[at + 1 :] if one.model == live and one.command in _MAKES_LIVE]
            yield live, verdict.at_ms, min(again, default=float("inf"))
        live = verdict.model


_MAKES_LIVE = {"promote", "roll_back", "demote"}


def descriptors_are_as_before(evidence: Evidence) -> Iterator[str]:
    """No worker keeps connections of what it gave up."""
    for worker, (before, after) in evidence.use.items():
        if after.descriptors > before.descriptors + EXTRA_DESCRIPTORS:
            yield f"{worker} had {before.descriptors} descriptors before, and has {after.descriptors}"


def memory_is_as_before(evidence: Evidence) -> Iterator[str]:
    """No worker keeps the batches or the clients of what went wrong."""
    for worker, (before, after) in evidence.use.items():
        if after.memory_mb > before.memory_mb + EXTRA_MEMORY_MB:
            yield f"{worker} had {before.memory_mb} MB resident before, and has {after.memory_mb}"


def uses_too_much(use: tuple[Use, Use]) -> bool:
    """Tell whether a worker uses more than before by more than its margin."""
    before, after = use
    return (
        after.descriptors > before.descriptors + EXTRA_DESCRIPTORS
        or after.memory_mb > before.memory_mb + EXTRA_MEMORY_MB
    )


def no_worker_ended(evidence: Evidence) -> Iterator[str]:
    """No worker ends that the campaign has not ended."""
    yield from evidence.exits


def every_worker_is_ready(evidence: Evidence) -> Iterator[str]:
    """In the end all is in service, and every worker says so."""
    yield from evidence.unready


def nothing_is_unexplained(evidence: Evidence) -> Iterator[str]:
    """Every decision comes out again, or its difference is explained."""
    if count := evidence.diff.get("unexplained", 0):
        yield f"score --topic --diff: {count} unexplained: {str(evidence.diff.get('examples', ''))[:1_000]}"
    if error := evidence.diff.get("error"):
        yield f"score --topic --diff failed: {error}"


def the_audit_is_clean(evidence: Evidence) -> Iterator[str]:
    """The product's own check of the rule finds nothing."""
    if evidence.audit is not None and evidence.audit[0] != 0:
        yield f"topics audit ended with {evidence.audit[0]}: {evidence.audit[1][:2_000]}"


def decisions_are_written_once_and_kept(evidence: Evidence) -> Iterator[str]:
    """Whoever reads a payment's decision reads the same one ever after, by a judge that is not ours."""
    if evidence.anomalies:
        yield f"porcupine: {len(evidence.anomalies)} payments: {'; '.join(evidence.anomalies[:SHOWN])}"


def a_late_reader_agrees(evidence: Evidence) -> Iterator[str]:
    """A consumer that lags, and goes on from what it stored, takes for valid what a reader of the whole does."""
    if evidence.read_late is None:
        return
    valid = {(score.partition, score.at) for score in evidence.fold.valid}
    late = set(evidence.read_late)
    for what, places in (("missed", valid - late), ("took void scores for valid:", late - valid)):
        if places:
            yield f"a late reader {what} {len(places)}: {sorted(places)[:SHOWN]}"


def every_label_is_answered(evidence: Evidence) -> Iterator[str]:
    """Each label has an outcome or a dead letter, or is in a range that was accepted as lost."""
    answered = {one.place for one in (*evidence.answers, *evidence.label_letters)}
    missing = [
        label.place
        for label in evidence.labels
        if label.place not in answered and not any(_covers(loss, label) for loss in evidence.label_losses)
    ]
    if missing:
        yield f"{len(missing)} labels have no outcome: {', '.join(map(described, missing[:SHOWN]))}"


def _covers(loss: Verdict, label: Record) -> bool:
    return loss.partition == label.partition and (label.log, label.offset) < (loss.log, loss.up_to or 0)


def the_setting_was_warned_of(evidence: Evidence) -> Iterator[str]:
    """Worker and command line name the unsafe setting before anything is lost by it."""
    if not evidence.warnings:
        yield "nobody was asked"
    yield from (f"{who} says nothing of the setting" for who, text in evidence.warnings.items() if not text)


def every_loss_is_told(evidence: Evidence) -> Iterator[str]:
    """Where decisions are gone, `topics audit` is not clean; where payments are, their loss was accepted."""
    code, report = evidence.audit or (0, "")
    accepted = {verdict.partition for verdict in evidence.verdicts if verdict.command == "accept_loss"}
    untold = [place for place in evidence.lost_inputs if place[1] not in accepted]
    if code == 0 and evidence.anomalies:
        yield f"{len(evidence.anomalies)} payments lost their decisions: {'; '.join(evidence.anomalies[:SHOWN])}"
    if code == 0 and untold:
        yield f"{len(untold)} acknowledged payments are gone: {', '.join(map(described, untold[:SHOWN]))}"
    if code == 1 and not evidence.anomalies and not evidence.lost_inputs:
        yield f"topics audit names what porcupine and the producer do not know of: {report[:2_000]}"


def described(place: Place) -> str:
    log, partition, offset = place
    return f"{partition}:{offset}" + (f" of log {log}" if log else "")


CHECKS: tuple[Callable[[Evidence], Iterator[str]], ...] = (
    offsets_are_decided_or_refused,
    no_payment_is_lost,
    no_bad_record_is_decided,
    no_payment_is_decided_twice,
    revisions_never_go_back,
    no_demoted_model_decides,
    descriptors_are_as_before,
    memory_is_as_before,
    no_worker_ended,
    every_worker_is_ready,
    nothing_is_unexplained,
    the_audit_is_clean,
    decisions_are_written_once_and_kept,
    a_late_reader_agrees,
    every_label_is_answered,
)


CHECKS_OF_LOSSES: tuple[Callable[[Evidence], Iterator[str]], ...] = (
    descriptors_are_as_before,
    memory_is_as_before,
    no_worker_ended,
    every_worker_is_ready,
    the_setting_was_warned_of,
    every_loss_is_told,
)
"""For the campaign in which Kafka loses what it acknowledged: nobody can promise then that nothing is lost."""


def violations(
    evidence: Evidence, checks: Iterable[Callable[[Evidence], Iterator[str]]] = CHECKS
) -> dict[str, list[str]]:
    """Return what each check found, by its name; the checks that hold are left out."""
    found = {check.__name__: list(check(evidence)) for check in checks}
    return {name: problems for name, problems in found.items() if problems}
