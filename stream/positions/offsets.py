"""Where a partition's decisions end: the position after a score, and as it is written to a commit's metadata.

The scores topic is the record of decisions: whatever was committed, a worker resumes after the last valid decision
there. A commit's metadata says how far scores had been read, so only the rest has to be read again.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

import msgspec

from fraudstream_client import outputs
from fraudstream_client.arms import LIVE
from fraudstream_client.field_types import AmountMinor, Count, CurrencyCode, LogNumber, Offset, TimeText
from fraudstream_client.outputs import RULE, Overruled, after_rules
from fraudstream_client.validity import Standing, log_and_offset, place_of
from models.decline_cap import (
    DECLINE_CAP,
    LONGEST_ARM,
    NO_DECLINES,
    WINDOW,
    DeclineWindow,
    DeclineWindows,
    from_note,
    noted,
)
from models.let_through import (
    LET_THROUGH,
    MOST_CURRENCIES,
    Currency,
    LetThroughTotals,
    noted_totals,
    totals_from_note,
)
from models.limits import LimitState
from models.terms import term_of
from stream.engine.unpacking import FetchedRecord
from stream.positions.letters import MOST_CLAIMS, Claim, letters_read_of


class SourcePlace(msgspec.Struct):
    """The log and the offset of a score's transaction."""

    offset: Offset
    log: LogNumber = 0


class ScoreValidity(msgspec.Struct):
    """The fields of a score that decide whether it is valid, or that a position keeps of it."""

    epoch: Count
    revision: Count
    source: SourcePlace
    card_id: str = ""
    transaction_id: str = ""
    arm: str | None = None
    decision: str = ""
    overruled: Overruled | None = None
    amount_minor: AmountMinor = 0
    currency: CurrencyCode = ""
    scored_at: TimeText = ""

    @property
    def place(self) -> int:
        """The place of its transaction."""
        return place_of(self.source.log, self.source.offset)


def identity_of(card_id: str, transaction_id: str) -> str:
    """Return a short text by which the transaction at an offset is recognised; it reveals neither id."""
    return hashlib.blake2b(f"{card_id}\0{transaction_id}".encode("utf-8", "replace"), digest_size=8).hexdigest()


class PaymentLetThrough(NamedTuple):
    """A payment that was let through: the UTC day of the decision, and the amount."""

    day: str
    currency: str
    amount_minor: int


class Decision(NamedTuple):
    """What a position needs of a score: its epoch, revision, place, and the identity of its transaction.

    `declined` tells whether the artifact of the arm declined, `capped` whether the cap on declines overruled that, and
    `let_through` is the payment if it was let through all the same. `bound` tells whether a rule decided of which the
    cap is asked nothing: one of the live arm. `letters_read` is how far `dead-letters` was read before, on the first
    score after a claim.
    """

    epoch: int
    revision: int
    place: int
    identity: str = ""
    arm: str = LIVE
    declined: bool = False
    capped: bool = False
    let_through: PaymentLetThrough | None = None
    bound: bool = False
    letters_read: int | None = None


_Counter = Annotated[int, msgspec.Meta(ge=-1, le=2**63 - 1)]
read_validity = msgspec.json.Decoder(ScoreValidity).decode
_LOG = re.compile(r"[1-9][0-9]{0,2}")
_POSITION_NOTE = re.compile(r"\[(-?[0-9]{1,19},){3}-?[0-9]{1,19}[],]")
_TOPIC_NOTE = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(@[1-9][0-9]{0,2})?")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_Text = Annotated[str, msgspec.Meta(max_length=64)]
_Old = tuple[_Counter, _Counter, Count, Count]
_Middle = tuple[_Counter, _Counter, Count, Count, _Text, _Text]
_Arm = Annotated[str, msgspec.Meta(max_length=LONGEST_ARM)]
_Declines = dict[_Arm, tuple[Annotated[bytes, msgspec.Meta(max_length=WINDOW // 8)], bool]]
_Limited = tuple[_Counter, _Counter, Count, Count, _Text, _Text, _Declines]
_Terms = Annotated[tuple[_Counter, ...], msgspec.Meta(min_length=2, max_length=5)]
_WithTerms = tuple[_Counter, _Counter, Count, Count, _Text, _Text, _Declines, _Terms]
_Day = Annotated[str, msgspec.Meta(max_length=10)]
_Totals = tuple[_Day, Annotated[dict[Currency, Count], msgspec.Meta(max_length=MOST_CURRENCIES)]]
_WithTotals = tuple[_Counter, _Counter, Count, Count, _Text, _Text, _Declines, _Terms, _Totals]
_Claims = Annotated[tuple[tuple[Count, Count, _Counter], ...], msgspec.Meta(max_length=MOST_CLAIMS)]
_Letters = tuple[Count, _Claims]
_New = tuple[_Counter, _Counter, Count, Count, _Text, _Text, _Declines, _Terms, _Totals, _Letters]
_decoders = tuple(
    msgspec.json.Decoder(form).decode for form in (_New, _WithTotals, _WithTerms, _Limited, _Middle, _Old)
)
_FOLLOWED = 3
_UNNOTED: tuple[Any, ...] = ("", "", {}, (0, 0), ("", {}), (0, ()))
"""What the last fields are in a note that lacks them."""


class Position(NamedTuple):
    """One partition's standing at `scores_offset`, and the revision and the term of its last valid decision.

    `cutovers` are the (revision, first offset) of the last term that were found while reading the tail, `handover` is
    the first offset of that term if it was found there, `void` is the number of void scores there.
    `identity` is that of the last decided transaction, empty if unknown; `topic_id` and `log` are those of the topic
    that is read, the id empty if unknown. `declines` are the windows of the cap on declines, as far as they are known;
    `let_through` is what was let through on the last such day, always whole. `claims` are those of the partition that
    tell which dead letters are late; none of an undecided offset lies before `letters_from` on `dead-letters`.
    """

    standing: Standing = Standing()
    revision: int = 0
    scores_offset: int = 0
    cutovers: tuple[tuple[int, int], ...] = ()
    void: int = 0
    identity: str = ""
    topic_id: str = ""
    log: int = 0
    declines: DeclineWindows = NO_DECLINES
    let_through: LetThroughTotals = LetThroughTotals()
    term: int = 0
    handover: int | None = None
    claims: tuple[Claim, ...] = ()
    letters_from: int = 0

    def after(self, score: Decision) -> "Position":
        """Return the position after one more score."""
        scores_offset = self.scores_offset + 1
        standing = self.standing.after(score.epoch, score.place)
        claims = self.claims_after(score.epoch, score.letters_read)
        if not self.standing.is_valid(score.epoch, score.place):
            return self._replace(standing=standing, scores_offset=scores_offset, void=self.void + 1, claims=claims)
        _, offset = log_and_offset(score.place)
        term = term_of(score.epoch)
        before = self if term == self.term else self._replace(revision=0, cutovers=(), handover=offset)
        new = ((score.revision, offset),) if score.revision > before.revision else ()
        return before._replace(
            standing=standing,
            revision=max(score.revision, before.revision),
            scores_offset=scores_offset,
            cutovers=before.cutovers + new,
            identity=score.identity,
            declines=self._declines_after(score),
            let_through=self.let_through if (one := score.let_through) is None else self.let_through.after(*one),
            term=term,
            claims=claims,
        )

    def claims_after(self, epoch: int, letters_read: int | None) -> tuple[Claim, ...]:
        """Return the claims after a score of an epoch: its first one says how far letters were read."""
        if letters_read is None or epoch <= self.standing.highest_epoch:
            return self.claims
        return (*self.claims, Claim(epoch, letters_read, self.standing.last_place))

    def revision_in(self, term: int) -> int:
        """Return the revision of the last valid decision if it was made in a term: only then it binds the next one."""
        return self.revision if self.term == term else 0

    def _declines_after(self, score: Decision) -> DeclineWindows:
        declines, passed = dict(self.declines), score.let_through is not None or score.bound
        window = declines.pop(score.arm, DeclineWindow())
        declines[score.arm] = window.after(declined=score.declined, overruled=score.capped, passed=passed)
        return declines

    @property
    def limit_state(self) -> LimitState:
        """What the limits of the partition go by."""
        return LimitState(self.declines, self.let_through)

    def decided_to(self, log: int) -> int:
        """Return the offset after the last decision in a log; 0 if that decision is in another one."""
        decided_log, offset = log_and_offset(self.standing.last_place)
        return offset + 1 if decided_log == log else 0

    def to_metadata(
        self,
        *,
        with_declines: bool = False,
        term: int = 0,
        published: "Position | None" = None,
        with_letters: bool = False,
    ) -> str:
        """Encode what the partition's next owner needs, as a commit's metadata.

        `term` is the one in which it is written; it tells whether the position is one on `scores` or on the topic of a
        silent deployment. `published` is where the latter stands on `scores`. What was let through, and dead letters,
        are noted of `scores` alone: a silent deployment lets nothing through, and its letters are no verdicts.

        Earlier versions do not know the last fields and would read all scores again; so they are left out as long as
        those can run: `declines` until something is set that limits them, the terms until a second deployment is there,
        what was let through until something was, and how far dead letters were read (`with_letters`) while a worker of
        such a version is in the group.
        """
        topic = topic_note(self.topic_id, self.log)
        note: tuple[object, ...] = (*self.standing, self.revision, self.scores_offset, self.identity, topic)
        on_scores = self if published is None else published
        totals = on_scores.let_through
        with_totals = with_letters or bool(totals.amounts)
        with_terms = term > 0 or published is not None or with_totals
        if with_terms or with_declines:
            note = (*note, noted(self.declines) if with_declines else {})
        if with_terms:
            followed = () if published is None else (*published.standing, published.scores_offset)
            note = (*note, (term, self.term, *followed))
        if with_totals:
            note = (*note, noted_totals(totals))
        if with_letters:
            note = (*note, (on_scores.letters_from, on_scores.claims[-MOST_CLAIMS:]))
        return msgspec.json.encode(note).decode()


class CommitNote(NamedTuple):
    """The metadata of a commit: the position, the term in which it was written, and the position on `scores`.

    The latter is that of a silent deployment, whose own position is one on another topic; None if it is not known.
    """

    position: Position = Position()
    term: int = 0
    published: Position | None = None


def topic_note(topic_id: str, log: int) -> str:
    """Return how a commit names the topic that was read: by its id, and by its log unless that is the first one.

    A log needs no other id: if the end of a topic was cut off and that was accepted, the same topic is another log.
    """
    return f"{topic_id}@{log}" if log else topic_id


def read_topic_note(note: str) -> tuple[str, int]:
    """Return the topic's id and the log that a commit names."""
    topic_id, at, log = note.rpartition("@")
    return (topic_id, int(log)) if at and _LOG.fullmatch(log) else (note, 0)


def is_position_note(metadata: str | None) -> bool:
    """Tell whether a commit of `transactions` was made by a worker of any version, later ones included.

    Its metadata begin with four integers. Tools that move a group's offsets leave them empty.
    """
    return _POSITION_NOTE.match(metadata or "") is not None


def is_topic_note(metadata: str | None) -> bool:
    """Tell whether a commit of labels or predictions was made by a worker: it names the topic that was read."""
    return _TOPIC_NOTE.fullmatch(metadata or "") is not None


class ResumePoint(NamedTuple):
    """Where to resume one partition: the committed offset (None: none), and the position of its decisions.

    `moved` is the offset of a commit that no worker has made, so that it does not say what was read. `copied` is the
    offset of the last commit of a worker where Kafka has another one or none, by a copy that proves it; else None.
    `scores_lost` is how many scores at most are gone of those that the commit had noted; later ones may be gone, too.
    What they decided may be undecided again.
    """

    committed: int | None
    position: Position
    copied: int | None = None
    moved: int | None = None
    scores_lost: int = 0

    @property
    def applied(self) -> int | None:
        """The offset before which everything is decided and applied; None if that is not known."""
        return self.copied if self.committed is None else self.committed

    def read_to(self, log: int) -> int:
        """Return the offset up to which the partition was read in a log: behind its last decision, or at its commit."""
        applied = self.applied if self.position.log == log else None
        return max(self.position.decided_to(log), applied or 0)


@dataclass(slots=True)
class VoidCounter:
    """Counts the void scores of each partition's tail, each once even if the tail is read again."""

    _counted: dict[int, tuple[int | None, int]] = field(default_factory=dict)

    def count_new(self, partition: int, point: ResumePoint) -> int:
        """Return the number of void scores that have not been counted; each committed offset has a tail of its own."""
        committed, void = point.applied, point.position.void
        before, counted = self._counted.get(partition, (committed, 0))
        self._counted[partition] = (committed, void)
        return max(0, void - counted) if before == committed else void


def parse_metadata(metadata: str | None) -> Position:
    """Decode the position of a commit's metadata; the beginning of the topic if it is not ours."""
    return read_note(metadata).position


def read_note(metadata: str | None) -> CommitNote:
    """Decode a commit's metadata; the beginning of the topic if it is not ours.

    Versions before the identity was noted wrote the first four fields only, those before declines were limited six,
    those before hand-overs seven, those before anything was let through eight, those that read no dead letters nine.
    """
    note: tuple[Any, ...]
    for decode in _decoders:
        try:
            note = decode((metadata or "").encode("utf-8", "replace"))
        except msgspec.DecodeError:
            continue
        return _commit_note((*note, *_UNNOTED[len(note) - 4 :]))
    return CommitNote()


def _commit_note(note: tuple[Any, ...]) -> CommitNote:
    """Return what the fields of a commit's metadata say, those that it lacks being what they are then."""
    epoch, place, revision, scores_offset, identity, topic, declines, terms, totals, letters = note
    topic_id, log = read_topic_note(topic)
    standing, windows, let_through = Standing(epoch, place), from_note(declines), totals_from_note(totals)
    written_in, term, *followed = terms
    letters_from, claims = letters[0], tuple(Claim(*one) for one in letters[1])
    on_scores = {"let_through": let_through, "letters_from": letters_from, "claims": claims}
    position = Position(standing, revision, scores_offset, (), 0, identity, topic_id, log, windows, term=term)
    if len(followed) != _FOLLOWED:
        return CommitNote(position._replace(**on_scores), written_in)
    return CommitNote(position, written_in, _followed(followed)._replace(**on_scores))


def _followed(noted: Sequence[int]) -> Position:
    """Return a position on `scores` that a silent deployment has noted; under which revision they decide is not."""
    epoch, place, scores_offset = noted
    return Position(Standing(epoch, place), 0, max(0, scores_offset), term=max(0, term_of(epoch)))


def folded(position: Position, record: FetchedRecord) -> Position:
    """Return the position after one more record of the scores; what is no score is passed over."""
    score = read_decision(record)
    if score is None:
        return position._replace(scores_offset=record.offset + 1)
    return position._replace(scores_offset=record.offset).after(score)


def read_decision(record: FetchedRecord) -> Decision | None:
    """Return what a position needs of the score in a record; None if it holds no score."""
    try:
        score = read_validity(record.value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    overruled, arm = score.overruled, score.arm or LIVE
    by = None if overruled is None else overruled.by
    ruled = score.decision
    if overruled is not None:
        ruled = after_rules(overruled.by, overruled.decision, overruled.ruled, score.decision)
    return Decision(
        score.epoch,
        score.revision,
        score.place,
        identity_of(score.card_id, score.transaction_id),
        arm,
        declined=ruled == outputs.Decision.DECLINE,
        capped=by == DECLINE_CAP,
        let_through=_let_through(score) if by == LET_THROUGH else None,
        bound=arm == LIVE and by is not None and by.startswith(RULE),
        letters_read=letters_read_of(record.headers),
    )


def _let_through(score: ScoreValidity) -> PaymentLetThrough | None:
    """Return the payment of a score that was let through; it counts to the last day if the score states none."""
    day = _DAY.match(score.scored_at)
    return PaymentLetThrough(day[0] if day else "", score.currency, score.amount_minor) if score.currency else None
