"""The records `command/1` (a request to change the lineup) and `event/1` (the fleet's response).

`judge` decides commands, `lineup` folds events.
"""

from enum import StrEnum
from typing import Annotated, Any

import msgspec

from fraudstream_client.field_types import FORM_OF_TOKENS, LogNumber, SettingsHash, text_like
from guards.excluded import HASH_PREFIX
from guards.ladder import Rung
from models.decline_cap import CapShare
from models.expected import explained
from models.let_through import LetThroughArgument
from models.limits import Limits
from models.problems import Problem, ProblemCode
from models.times import parse_time_ms
from models.volume import VolumeBudget

Token = Annotated[str, text_like("^[A-Za-z0-9._:@-]{1,64}$", FORM_OF_TOKENS)]
Digest = Annotated[str, text_like("^[0-9a-f]{64}$", "a digest of 64 hexadecimal digits, 0-9 a-f")]
ModelName = Annotated[
    str, text_like("^[0-9a-f]{8,64}$", "a model's digest, or its first 8 or more hexadecimal digits, 0-9 a-f")
]
Timestamp = Annotated[
    str,
    text_like(
        r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{3}Z$",
        "RFC 3339 with a zone, as in 2026-01-31T12:00:00.000Z, or integer epoch milliseconds",
    ),
]
Revision = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Total = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
WatchSeconds = Annotated[int, msgspec.Meta(ge=0, le=30 * 86_400)]
BasisPoints = Annotated[int, msgspec.Meta(ge=1, le=9_999)]
"""A share in steps of 0.01 %; all cards are no share, but a promotion."""
Salt = Token
"""It keys a hash whose key has at most 64 bytes, as many as a token."""
MOST_EXCLUDED = 1_000
"""The most cards that a split leaves to the live model by name."""
FORM_OF_EXCLUDED = f"a hash, {HASH_PREFIX} and 32 hexadecimal digits, or a `card_id`, {FORM_OF_TOKENS}"
ExcludedCard = Annotated[
    str, text_like(f"^(?:{HASH_PREFIX}[0-9a-f]{{32}}|[A-Za-z0-9._:@-]{{1,64}})$", FORM_OF_EXCLUDED)
]
Excluded = Annotated[tuple[ExcludedCard, ...], msgspec.Meta(max_length=MOST_EXCLUDED)]
"""Cards, by keyed hashes; by `card_id` in older records, and where the deployment has no hash key."""
KeyCheck = Annotated[str, text_like("^[0-9a-f]{32}$", "32 hexadecimal digits, 0-9 a-f")]
"""By which equal keys are known, and that tells nothing of the key."""
MOST_DESPITE = 100
"""The most grounds that one command accepts by name."""
Despite = Annotated[tuple[Token, ...], msgspec.Meta(max_length=MOST_DESPITE)]
"""What is on record against a model and is accepted: ids of events and of other grounds, as a refusal names them."""
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Microseconds = Annotated[float, msgspec.Meta(ge=0)]
TermNumber = Annotated[int, msgspec.Meta(ge=0, le=2**20 - 1)]
"""An epoch, which has the term above its lower 32 bits, stays below 2^53."""
TopicName = Annotated[
    str, text_like("^[A-Za-z0-9._-]{1,249}$", "a topic as Kafka names it, 1 to 249 letters, digits, . _ -")
]
GroupName = Annotated[str, msgspec.Meta(min_length=1, max_length=249)]
CodeVersion = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
TopicId = Annotated[str, text_like("^[A-Za-z0-9._:@-]{1,64}$", FORM_OF_TOKENS)]
LONGEST_ACTOR = 200
LONGEST_REASON = 2_000
Actor = Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_ACTOR)]
Reason = Annotated[str, msgspec.Meta(max_length=LONGEST_REASON)]


SHORT_DIGEST = 12
"""How many digits of a digest are shown to people."""
WHOLE_DIGEST = 64
"""The hexadecimal digits of a digest; a command may name a model by fewer."""


def is_digest(name: str) -> bool:
    """Tell whether a model's name is its whole digest."""
    return len(name) == WHOLE_DIGEST


class CommandKind(StrEnum):
    """The operations that a command can request."""

    CHALLENGE = "challenge"
    """Put a model into the shadow."""
    WITHDRAW = "withdraw"
    """Take the challenger out of the shadow."""
    PROMOTE = "promote"
    """Make a model live."""
    ROLL_BACK = "roll_back"
    """Return to what was live before; while a canary or a split runs, end it."""
    DEMOTE = "demote"
    """Return to what was live before, and quarantine the model that is live now; while a canary or a split runs, end it
    and quarantine the models of its arms, but for the live one."""
    CANARY = "canary"
    """Let a model decide for a share of the cards, or change the share of the model that does."""
    END_CANARY = "end_canary"
    """Let the live model decide for all cards again; it ends a rollout, too."""
    SPLIT = "split"
    """Divide the cards among the arms of an experiment, each with its model and a share that stays as it is."""
    END_SPLIT = "end_split"
    """Let one model decide for all cards again: the live one, or that of the arm that won, which becomes live."""
    ROLLOUT = "rollout"
    """Start a canary at the first share of a ladder, which a guard climbs."""
    PAUSE = "pause"
    """Keep a rollout at its share."""
    RESUME = "resume"
    """Let a paused rollout climb again; the guards that paused it do not hold it any more."""
    FREEZE = "freeze"
    """Refuse automatic commands that raise a model's exposure; with `hands_off` those that end it, too."""
    THAW = "thaw"
    """Let automatic commands act again."""
    LIMITS = "limits"
    """Set what overrules decisions; the lineup keeps it until it is set again."""
    ACCEPT_LOSS = "accept_loss"
    """Let a partition go on that lost records, or whose topic was made anew."""
    SKIP = "skip"
    """Let a partition pass over records that cannot be read."""
    COUNTERSIGN = "countersign"
    """Approve a command that another person sent and that counts only with a second signature."""
    CUT_OVER = "cut_over"
    """Let the deployment of the command publish from now on, in place of the one that does; `expected_revision` is the
    term."""


NAMES_A_MODEL = frozenset({CommandKind.CHALLENGE, CommandKind.PROMOTE, CommandKind.CANARY, CommandKind.ROLLOUT})
TAKES_DESPITE = frozenset(
    {CommandKind.PROMOTE, CommandKind.CANARY, CommandKind.ROLLOUT, CommandKind.SPLIT, CommandKind.END_SPLIT}
)
"""Commands that let a model decide for more cards, so that they are refused on what is on record against it."""
ABOUT_PARTITIONS = frozenset({CommandKind.ACCEPT_LOSS, CommandKind.SKIP})
LEAVES_REVISION = ABOUT_PARTITIONS | {CommandKind.COUNTERSIGN, CommandKind.CUT_OVER}
"""Commands that change no lineup, so the revision stays as it is."""


class RequestedArm(msgspec.Struct, frozen=True):
    """An arm as a `split` asks for it: a model by digest or a prefix of it, and its share of the cards."""

    model: ModelName
    share_bp: BasisPoints


class AcceptedArm(msgspec.Struct, frozen=True):
    """An arm of an accepted `split`: its model by its full digest, and its share of the cards."""

    model: Digest
    share_bp: BasisPoints


class Command(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="schema", tag="command/1"):
    """A request to change the lineup. It is refused unless `expected_revision` holds when it is judged."""

    command_id: Token
    deployment: Token
    expected_revision: Revision
    kind: CommandKind
    model: ModelName | None = None
    share_bp: BasisPoints | None = None
    salt: Salt | None = None
    arms: dict[Token, RequestedArm] | None = None
    exclude: Excluded = ()
    exclude_key_check: KeyCheck | None = None
    winner: Token | None = None
    decline_cap: CapShare | None = None
    let_through: LetThroughArgument | None = None
    promote_needs_verdict: bool | None = None
    volume_budget: VolumeBudget | None = None
    actor: Actor
    reason: Reason
    issued_at: Timestamp
    expires_at: Timestamp
    force: bool = False
    watch_seconds: WatchSeconds | None = None
    to: Timestamp | None = None
    topic: TopicName | None = None
    partition: Count | None = None
    log: LogNumber | None = None
    up_to: Count | None = None
    first: Count | None = None
    offset: Count | None = None
    ladder: tuple[Rung, ...] | None = None
    guards: dict[str, Any] | None = None
    hands_off: bool = False
    evidence: dict[str, Any] | None = None
    countersigns: Token | None = None
    despite: Despite = ()

    @property
    def needs_candidate(self) -> bool:
        """Whether workers have to load models before it is accepted: those it names, or what was live at a time."""
        return self.kind in NAMES_A_MODEL or self.kind is CommandKind.SPLIT or self.to is not None

    @property
    def asks_workers(self) -> bool:
        """Whether every worker has to answer before it is accepted."""
        return not self.force and (self.needs_candidate or self.kind is CommandKind.CUT_OVER)

    @property
    def to_ms(self) -> int | None:
        """The epoch millisecond to which a roll-back returns; None: to what was live before."""
        return None if self.to is None else parse_time_ms(self.to).epoch_ms

    @property
    def expires_ms(self) -> int:
        """The first epoch millisecond at which the command has expired."""
        return parse_time_ms(self.expires_at).epoch_ms


class EventKind(StrEnum):
    """What an event reports."""

    ACCEPTED = "accepted"
    """The judge accepted the command; it makes `revision`. `actor` and `reason` are the command's, card numbers
    redacted."""
    REFUSED = "refused"
    """The judge refused the command for good; `problems` say why."""
    CANDIDATE = "candidate"
    """The judge asks every worker to load `model`, or the models of all `arms`, and to answer under this `command_id`;
    for a `cut_over`, to answer whether it could publish now."""
    READY = "ready"
    """A worker has loaded and probed `model`, or the models of all arms. Without a `command_id`: a worker that starts
    says which `group` it joins, by which `code_version` and `settings` it decides, and what it `can` do."""
    NOT_READY = "not_ready"
    """A worker could not load a model, may not serve it yet, or could not publish now; `problems` say why."""
    CUTOVER = "cutover"
    """The transaction at `offset` of `partition` is the first that a worker decided there under `revision`."""
    HANDOVER = "handover"
    """The transaction at `offset` of `partition` is the first that the deployment published there in `term`."""
    SHADOW = "shadow"
    """A worker missed comparisons: its totals since it loaded the challenger `model`, at `revision`."""
    ROW_TIME = "row_time"
    """A worker measured how long a model of a canary, a split or a watched promotion, `model`, takes for a row."""
    RESTORING = "restoring"
    """`fraudstream model restore` begins to write back events; `actor` and `reason` say who and why."""
    RESTORED = "restored"
    """It is done: if exactly `records` records lie between `restoring` and this, the log is whole from there on."""


class Capability(StrEnum):
    """What a worker announces that it can do, where one of an earlier version cannot and could not say so itself.

    The judge refuses a command that needs a capability while a member of the group has not announced it.
    """

    ERASE = "erase"
    """It knows erasures of cards: an earlier version refuses them for ever."""
    HASHED_EXCLUDE = "hashed_exclude"
    """It leaves cards out of a split by their keyed hashes."""


CAPABILITIES = tuple(sorted(one.value for one in Capability))
"""Those of this version, as `ready` has them."""


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="schema", tag="event/1"):
    """One event on `model-events`. Fields that do not belong to its kind are absent.

    `command` and `model` (the full digest) are those of the accepted, refused or pending command; `probe_hash`
    belongs to `ready`, of several models it is one over those of all; `partition` and `offset` to `cutover` and to
    `handover`; `term` to `handover` and to an accepted `cut_over`, which begins it; `topic`, `topic_id`,
    `partition` and `log` to an accepted `accept_loss`, with `up_to` and `first`, the offsets that are lost at most
    (without `first` in older events), and to an accepted `skip`, with `offset`
    (without `log`: 0); `watch_until` to an accepted promotion whose predecessor stays as challenger until then;
    `to` to the promotion of what was live at that time, which a `roll_back` asked for; `share_bp` and `salt` to an
    accepted `canary`: the model's share of the buckets, and what the cards' hash is keyed with, and to an accepted
    `rollout`, with `ladder` and `guards`; `arms` and `exclude`, with `salt`, to an accepted `split`: all of them,
    by name, and the cards that are always the live model's, with `exclude_key_check`, the check value of the key, where
    these are hashes; `winner` to an accepted `end_split`, with the `model`
    of the arm, absent for `live`, and with `watch_until` like a promotion; `paused` and `frozen` (with `hands_off`)
    say what is so from now on; `limits` to an accepted `limits`: all that overrules decisions from then on;
    `evidence` is the command's, card numbers in its texts redacted, a refusal keeps it if it states a verdict on its
    `model`; `despite` is what the command accepted of what is on record against its models; `compared`, `skipped` and
    `failed` to `shadow`; `row_us`, microseconds of processor time, the median of the last calls, `p95_us`, `p99_us` and
    `features_us`, that part of the median which its features take, to `row_time`; `code_version` to `ready` and
    `not_ready`; `group` and `settings`, which `score/1` has too, to a `ready` without `command_id`, with
    `settings_lines`, the lines that `settings` is the hash of, where the log has none of them yet, with `can`, the
    capabilities of this version (`Capability`; a newer one may have others), and with `exclude_key_check` where the
    worker has a hash key; `countersigns` to an
    accepted `countersign`: the command that it approves, and `countersigned_by` to the acceptance of that command: who
    approved it; `actor` and `reason` to `accepted`, and to a `refused` that keeps evidence, where they are the
    command's, and to `restoring`; `records` to `restored`, which has the `command_id` of its `restoring`, and to that,
    where they are those that the log lacked.
    """

    event_id: Token
    deployment: Token
    kind: EventKind
    revision: Revision
    worker: Token
    at: Timestamp
    command_id: Token | None = None
    command: CommandKind | None = None
    model: Digest | None = None
    probe_hash: Digest | None = None
    partition: Annotated[int, msgspec.Meta(ge=0)] | None = None
    offset: Annotated[int, msgspec.Meta(ge=0)] | None = None
    topic: TopicName | None = None
    topic_id: TopicId | None = None
    log: LogNumber | None = None
    up_to: Count | None = None
    first: Count | None = None
    watch_until: Timestamp | None = None
    to: Timestamp | None = None
    share_bp: BasisPoints | None = None
    salt: Salt | None = None
    arms: dict[Token, AcceptedArm] | None = None
    exclude: Excluded = ()
    exclude_key_check: KeyCheck | None = None
    winner: Token | None = None
    ladder: tuple[Rung, ...] | None = None
    guards: dict[str, Any] | None = None
    paused: bool | None = None
    frozen: bool | None = None
    hands_off: bool | None = None
    evidence: dict[str, Any] | None = None
    limits: Limits | None = None
    term: TermNumber | None = None
    compared: Total | None = None
    skipped: Total | None = None
    failed: Total | None = None
    row_us: Microseconds | None = None
    p95_us: Microseconds | None = None
    p99_us: Microseconds | None = None
    features_us: Microseconds | None = None
    group: GroupName | None = None
    code_version: CodeVersion | None = None
    settings: SettingsHash | None = None
    settings_lines: tuple[str, ...] = ()
    can: tuple[Token, ...] = ()
    records: Total | None = None
    actor: Actor | None = None
    reason: Reason | None = None
    countersigns: Token | None = None
    countersigned_by: Actor | None = None
    despite: Despite = ()
    problems: tuple[Problem, ...] = ()


class UnreadableRecord(msgspec.Struct, frozen=True):
    """A record that is not a valid command: all its problems, and its id and deployment where they can be read."""

    problems: tuple[Problem, ...]
    command_id: str | None = None
    deployment: str | None = None


_EVENTS = msgspec.json.Decoder(Event)


def encode(record: Command | Event) -> bytes:
    """Encode a record for its topic; absent and default values are omitted, `schema` never is."""
    return msgspec.json.encode(record)


def read_event(value: bytes) -> Event | UnreadableRecord:
    """Decode one record of `model-events`. Only workers write there, so the first problem is enough."""
    try:
        return _EVENTS.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        return UnreadableRecord((Problem(ProblemCode.INVALID_RECORD, f"no event/1: {explained(error)}"),))
