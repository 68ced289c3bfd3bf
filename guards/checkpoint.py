"""A guard's state as plain JSON, and back: a checkpoint that saves reading the topics again, and may be lost.

Sets of hashes are base64 of 8 bytes each, so a million cards take 11 MB.
"""

from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping, Sequence
from typing import Any

from guards.errors import CheckpointError, GuardSpecError
from guards.first_payments import BAND_CLASSES
from guards.hashes import HashSet
from guards.specs import GuardKind, guards_json, read_guards
from guards.state import Exposure, GuardState, OutcomePartition, PartitionCounts

VERSION = 3


def state_json(state: GuardState) -> dict[str, Any]:
    """Return the whole state as plain JSON, which `read_state` reads."""
    return {
        "version": VERSION,
        "deployment": state.deployment,
        "guards": guards_json(state.guards),
        "arms": list(state.arms),
        "since_ms": state.since_ms,
        "is_paired": state.is_paired,
        "shares": {str(revision): share_bp for revision, share_bp in state.shares.items()},
        "partitions": {str(number): _partition_json(counts) for number, counts in state.partitions.items()},
        "outcomes": {
            str(number): {
                "position": counts.position,
                "frauds": [list(pair) for pair in counts.frauds.items()],
                "genuine": _packed(counts.genuine),
            }
            for number, counts in state.outcomes.items()
        },
    }


def read_state(value: object, empty: GuardState) -> GuardState:
    """Read a state from the plain JSON of `state_json`; `empty` is one of the same that has counted nothing yet.

    Raises:
        CheckpointError: it is damaged, of another version or deployment, or of other guards or arms. Discard it and
            count the topics again.
    """
    try:
        return _read(value, empty)
    except (KeyError, TypeError, ValueError, AttributeError, Base64Error, GuardSpecError) as error:
        raise CheckpointError(
            f"the stored state of a guard cannot be read ({type(error).__name__}: {error}); discard it, and the guard "
            "counts the topics again"
        ) from error


def _read(value: Any, state: GuardState) -> GuardState:  # noqa: ANN401 - checked as it is read
    if value["version"] != VERSION:
        raise ValueError(f"version {value['version']!r}, but this is version {VERSION}")
    if dict(read_guards(value["guards"])) != dict(state.guards) or tuple(value["arms"]) != state.arms:
        raise ValueError("it is of other guards or arms")
    if (value["since_ms"], value["is_paired"]) != (state.since_ms, state.is_paired):
        raise ValueError("it is of another start")
    if value["deployment"] != state.deployment:
        raise ValueError(f"it is of the deployment {str(value['deployment'])[:64]!r}, not of {state.deployment!r}")
    for revision, share_bp in value["shares"].items():
        state.set_share(int(revision), share_bp)
    for number, fields in value["partitions"].items():
        state.partitions[int(number)] = _read_partition(fields, len(state.arms))
    for number, fields in value["outcomes"].items():
        outcomes = state.outcomes[int(number)] = OutcomePartition()
        outcomes.position = int(fields["position"])
        outcomes.frauds = {int(transaction): int(card) for transaction, card in fields["frauds"]}
        outcomes.genuine = _unpacked(fields["genuine"])
    state.seek_all()
    return state


def _partition_json(counts: PartitionCounts) -> dict[str, Any]:
    return {
        "position": counts.position,
        "standing": list(counts.standing),
        "decided": _shares_json(counts.decided),
        "firsts": {
            str(kind): [[*at, *arms] for at, arms in by_block.items()] for kind, by_block in counts.firsts.items()
        },
        "cards": {str(kind): _packed(cards) for kind, cards in counts.cards.items()},
        "approved": [[*exposure, _packed(approved)] for exposure, approved in counts.approved.items()],
        "declined": _packed(counts.declined),
        "classes": {str(share_bp): arms for share_bp, arms in counts.classes.items()},
        "sampled": {"rows": counts.rows, "undefined": counts.undefined, "early": counts.early},
    }


def _read_partition(fields: Mapping[str, Any], arms: int) -> PartitionCounts:
    counts = PartitionCounts(arms)
    epoch, place = fields["standing"]
    counts.position, counts.standing = int(fields["position"]), (int(epoch), int(place))
    counts.decided = _read_shares(fields["decided"], arms)
    counts.firsts = {GuardKind(kind): _read_blocks(rows, arms) for kind, rows in fields["firsts"].items()}
    counts.cards = {GuardKind(kind): _unpacked(text) for kind, text in fields["cards"].items()}
    if any(not 0 <= int(arm) < arms for _, arm, _, _ in fields["approved"]):
        raise ValueError(f"it does not have the approved payments of {arms} arms")
    counts.approved = {Exposure(*map(int, exposure)): _unpacked(text) for *exposure, text in fields["approved"]}
    counts.declined = _unpacked(fields["declined"])
    for share_bp, by_arm in fields["classes"].items():
        if {len(by_arm), *map(len, by_arm)} != {arms, BAND_CLASSES}:
            raise ValueError(f"it does not have the scores of {arms} arms")
        counts.classes[int(share_bp)] = [[int(count) for count in by_class] for by_class in by_arm]
    sampled = fields["sampled"]
    counts.rows, counts.early = int(sampled["rows"]), [int(count) for count in sampled["early"]]
    counts.undefined = {str(name): int(count) for name, count in sampled["undefined"].items()}
    return counts


def _read_blocks(rows: Sequence[Sequence[int]], arms: int) -> dict[tuple[int, int], list[int]]:
    if any(len(row) != 2 + arms for row in rows):
        raise ValueError(f"it does not have the counts of {arms} arms")
    return {(int(block), int(share_bp)): [int(count) for count in counts] for block, share_bp, *counts in rows}


def _shares_json(by_share: Mapping[int, list[int]]) -> dict[str, list[int]]:
    return {str(share_bp): list(arms) for share_bp, arms in by_share.items()}


def _read_shares(fields: Mapping[str, Any], arms: int) -> dict[int, list[int]]:
    found = {int(share_bp): [int(count) for count in counts] for share_bp, counts in fields.items()}
    if any(len(counts) != arms for counts in found.values()):
        raise ValueError(f"it does not have the counts of {arms} arms")
    return found


def _packed(hashes: HashSet) -> str:
    return b64encode(hashes.packed()).decode()


def _unpacked(text: str) -> HashSet:
    return HashSet(b64decode(text, validate=True))
