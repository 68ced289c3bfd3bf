"""What a second brought: sums over the scores and dead letters whose timestamps lie in it.

Sums may be added in any order, so a second's facts are the same however the topics are read.
"""

from collections.abc import Iterator

import msgspec

from fraudstream.ops.repair.kept_letters import REDRIVEN_FROM, KeptLetter
from fraudstream.ops.watch.incidents.exposure import NOTHING, Exposure, one, place_key
from fraudstream.ops.watch.incidents.rules import WAITING_SECONDS
from fraudstream_client.field_types import AmountMinor, CurrencyCode
from fraudstream_client.incidents import IncidentRule, Opening
from fraudstream_client.outputs import DecidedBy
from models.decline_cap import DECLINE_CAP
from stream.contract.iso import CURRENCY_DECIMALS
from stream.readers import UNREADABLE, ScoreView, ViewedRecord
from stream.scoring.encode import HISTORY_INCOMPLETE, UNDECIDABLE
from stream.scoring.score import LIVE_MODEL_FAILED

STOOD_IN = frozenset({LIVE_MODEL_FAILED, UNDECIDABLE})
"""The entries of `degraded` that say that the live model did not decide: a canary's failure is not among them."""


class StatedAmount(msgspec.Struct, frozen=True):
    """The amount that a payment states."""

    amount_minor: AmountMinor
    currency: CurrencyCode


class StandstillFact(msgspec.Struct, frozen=True):
    """A partition that decided nothing while a payment waited in it.

    Attributes:
        opening: the payment.
        since_ms: since when it waited and nothing was decided.
        until_ms: until when, as far as is known.
    """

    opening: Opening
    since_ms: int
    until_ms: int

    @property
    def opens_s(self) -> int:
        """The second in which it had lasted for so long that it is an incident."""
        return self.since_ms // 1000 + WAITING_SECONDS


Place = tuple[int, int]
"""An offset, and a timestamp in epoch milliseconds."""
_read_amount = msgspec.json.Decoder(StatedAmount).decode


class SecondFacts(msgspec.Struct):
    """The sums of one second.

    Attributes:
        decisions: the deployment's valid decisions.
        seen: the payments that show a rule's condition by themselves, by rule.
        late: those that were decided `WAITING_SECONDS` or more after they arrived, by partition.
        by_new_model: those that a watched model decided, by `WatchPeriod.key`.
        letters: dead letters, by topic and code.
        refused: offsets and times of dead letters of transactions, by partition.
        decided_to: the highest place of a decided transaction, by partition, whoever decided it.
        epochs: the time and place of the first payment that was decided under each history epoch.
        standstills: partitions that stood still, and had done so for long enough in this second.
    """

    decisions: int = 0
    seen: dict[IncidentRule, Exposure] = msgspec.field(default_factory=dict)
    late: dict[int, Exposure] = msgspec.field(default_factory=dict)
    by_new_model: dict[str, Exposure] = msgspec.field(default_factory=dict)
    letters: dict[str, Exposure] = msgspec.field(default_factory=dict)
    refused: dict[int, list[Place]] = msgspec.field(default_factory=dict)
    decided_to: dict[int, int] = msgspec.field(default_factory=dict)
    epochs: dict[int, tuple[int, Opening]] = msgspec.field(default_factory=dict)
    standstills: list[StandstillFact] = msgspec.field(default_factory=list)

    def see(self, rule: IncidentRule, exposure: Exposure) -> None:
        """Add payments that show a rule's condition."""
        self.seen[rule] = self.seen.get(rule, NOTHING).plus(exposure)

    def see_epoch(self, at_ms: int, score: ScoreView) -> None:
        """Add the history epoch of a payment that was decided at a time."""
        epoch = score.positions.history_epoch
        known = self.epochs.get(epoch)
        if known is None or at_ms < known[0]:
            self.epochs[epoch] = at_ms, opening_of(score)
        elif at_ms == known[0] and place_key(opening := opening_of(score)) < place_key(known[1]):
            self.epochs[epoch] = at_ms, opening


EMPTY_SECOND = SecondFacts()
"""The facts of a second that brought nothing; not to be changed."""


def opening_of(score: ScoreView) -> Opening:
    """Return the place of a score's payment."""
    return Opening(*msgspec.structs.astuple(score.source))


def exposure_of(score: ScoreView, at_ms: int, reasons: tuple[str, ...] = ()) -> Exposure:
    """Return the exposure of a payment, decided at a time."""
    money, decided = (score.currency, score.amount_minor), (score.decided_by.value, score.decision.value)
    return one(at_ms, opening_of(score), money, decided, reasons)


def shown_by(score: ScoreView, deadline_ms: int) -> Iterator[tuple[IncidentRule, tuple[str, ...]]]:
    """Yield the rules whose condition a decision shows, with what it says of the cause."""
    if score.degraded:
        if stood_in := tuple(entry for entry in score.degraded if entry in STOOD_IN):
            yield IncidentRule.STAND_INS, stood_in
        if HISTORY_INCOMPLETE in score.degraded:
            yield IncidentRule.HISTORY_INCOMPLETE, (HISTORY_INCOMPLETE,)
    if score.overruled is not None and score.overruled.by == DECLINE_CAP:
        yield IncidentRule.CAP_REACHED, (DECLINE_CAP,)
    if score.latency_ms > deadline_ms:
        yield IncidentRule.DEADLINES_MISSED, ()


def is_redriven(record: ViewedRecord) -> bool:
    """Tell whether the payment of a score was sent again after it had become a dead letter.

    It keeps the time of its first record, so that how long it waited says nothing of the workers.
    """
    return any(name == REDRIVEN_FROM for name, _ in record.headers)


def is_by_model(score: ScoreView) -> bool:
    """Tell whether the model of the payment's arm decided it."""
    return score.decided_by is DecidedBy.MODEL


def stated_amount(value: bytes | None) -> tuple[str, int] | None:
    """Return currency and amount of a payment; None if they cannot be read, or are none."""
    try:
        found = _read_amount(value or b"")
    except UNREADABLE:
        return None
    return (found.currency, found.amount_minor) if found.currency in CURRENCY_DECIMALS else None


def letter_exposure(letter: KeptLetter) -> Exposure:
    """Return the exposure of a dead letter, at the time when it was written; a label has no amount."""
    source = letter.source
    return one(
        letter.record.timestamp,
        Opening(source.topic, source.partition, source.offset),
        stated_amount(letter.record.value) if letter.has_value else letter.amount,
        None,
        (letter.code,),
    )
