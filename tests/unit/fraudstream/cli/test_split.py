"""`fraudstream model split` and `end-split`: what they send, what they refuse, and how a split is shown."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import Result

from fraudstream.cli import commands, model_history, model_who, split
from fraudstream.cli.model_roles import roles_of
from fraudstream.ops.rollout.lineup import who
from fraudstream.ops.rollout.lineup.who import FirstDecision, WhoAt, reign_at
from guards.excluded import use_exclusion_key
from models.arms import Arm, Split
from models.commands import AcceptedArm, CommandKind, RequestedArm
from models.lineup import Lineup, follow
from stream.control.client import CommandRequest
from stream.control.history import History, history_of
from stream.errors import UnsentCommandError
from support.command_line import answer_reads, record_requests, run_command
from support.control_events import accepted
from support.hashed_cards import KEY, check_by_the_contract, hash_by_the_contract, hashed
from support.stream_records import CARD_NUMBER

A, B, C = (letter * 64 for letter in "abc")
ARMS = {"new": AcceptedArm(B, 1_000), "control": AcceptedArm(A, 1_000)}
EVENTS = [
    accepted(1, model=A),
    accepted(2, "split", arms=ARMS, salt="s", exclude=("card-1", "card-2")),
    accepted(3, "end_split", B, winner="new"),
]


def run(*arguments: str, **settings: str) -> Result:
    return run_command("model", *arguments, settings=settings)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[CommandRequest]:
    """The requests that are sent; each is accepted."""
    monkeypatch.setattr(split, "tell_ended_watch", lambda _settings: None)
    monkeypatch.setattr(split, "grounds_of", lambda _winner, _file: None)
    monkeypatch.setattr(split, "winners_evidence", lambda _winner, _revision, force: {})  # noqa: ARG005 - its name
    return record_requests(monkeypatch, lambda request: EVENTS[1 if request.kind is CommandKind.SPLIT else 2])


def test_a_split_is_sent_with_its_arms_and_the_cards_that_are_excluded(
    sent: list[CommandRequest], tmp_path: Path
) -> None:
    (tmp_path / "cards").write_text("card-2\n\n card-3 \n")
    arms = ("--arm", "new=bbbbbbbb:10%", "--arm", f"v.2:x={C}:0.5 %")
    excluded = ("--exclude", "card-2", "--exclude", "card-1", "--exclude-file", str(tmp_path / "cards"))
    result = run("split", *arms, *excluded, "--salt", "s", "--reason", "which", "--expected-revision", "1")
    assert (result.exit_code, result.stdout) == (
        0,
        f"2026-01-01T00:00:00.000Z  revision 2  accepted  split control {'a' * 12} at 10%, new {'b' * 12} at 10%\n",
    )
    expected = CommandRequest(
        CommandKind.SPLIT,
        "ann",
        "which",
        60.0,
        expected_revision=1,
        salt="s",
        arms={"new": RequestedArm("bbbbbbbb", 1_000), "v.2:x": RequestedArm(C, 50)},
        exclude=("card-1", "card-2", "card-3"),
    )
    assert sent == [expected]
    shown = json.loads(run("split", *arms, "--json").stdout)
    assert shown["arms"] == {name: {"model": arm.model, "share_bp": arm.share_bp} for name, arm in ARMS.items()}
    assert sent[1].exclude == ()


@pytest.fixture
def key_file(tmp_path: Path) -> Iterator[Path]:
    """The file of a deployment's hash key."""
    (tmp_path / "hash-key").write_text(KEY.hex())
    yield tmp_path / "hash-key"
    use_exclusion_key(b"")


def test_excluded_cards_are_sent_by_hashes_where_the_deployment_has_a_key(
    sent: list[CommandRequest], key_file: Path
) -> None:
    cards = ("--exclude", "card-2", "--exclude", "card-1")
    result = run("split", "--arm", "new=bbbbbbbb:10%", *cards, FRAUDSTREAM_HASH_KEY_FILE=str(key_file))
    assert (result.exit_code, result.stderr) == (0, "")
    assert sent[0].exclude == tuple(sorted(map(hash_by_the_contract, ("card-1", "card-2"))))
    assert sent[0].exclude_key_check == check_by_the_contract()


def test_without_a_key_they_are_sent_by_their_ids_with_a_warning(sent: list[CommandRequest]) -> None:
    result = run("split", "--arm", "new=bbbbbbbb:10%", "--exclude", "card-1")
    assert (result.exit_code, sent[0].exclude, sent[0].exclude_key_check) == (0, ("card-1",), None)
    assert result.stderr == (
        "warning: the ids of 1 excluded cards go into the command and its event as they are, and stay there for ever: "
        "FRAUDSTREAM_HASH_KEY_FILE names no key by which they could be hashed\n"
    )
    assert run("split", "--arm", "new=bbbbbbbb:10%").stderr == ""


def test_a_key_that_cannot_be_read_ends_the_command_before_anything_is_sent(sent: list[CommandRequest]) -> None:
    result = run("split", "--arm", "new=bbbbbbbb:10%", FRAUDSTREAM_HASH_KEY_FILE="/none")
    assert (result.exit_code, sent) == (2, [])
    assert "FRAUDSTREAM_HASH_KEY_FILE: /none cannot be read" in result.stderr


def test_a_split_that_workers_do_not_know_is_not_sent_and_says_why(
    sent: list[CommandRequest], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise UnsentCommandError("exclude: default/w-1 have not announced it")

    answer_reads(monkeypatch, "command_traced", refuse, commands)
    result = run("split", "--arm", "new=bbbbbbbb:10%")
    assert (result.exit_code, sent) == (1, [])
    assert result.stderr == "the command was not sent: exclude: default/w-1 have not announced it\n"


def test_a_split_is_ended_with_a_winner(sent: list[CommandRequest]) -> None:
    result = run("end-split", "--winner", "new", "--reason", "less fraud")
    assert result.stdout == f"2026-01-01T00:00:00.000Z  revision 3  accepted  end_split new {'b' * 12}\n"
    assert sent == [CommandRequest(CommandKind.END_SPLIT, "ann", "less fraud", 60.0, winner="new")]
    assert run("end-split").exit_code == 2


@pytest.mark.parametrize(
    ("arms", "message"),
    [
        (("new",), "'new' is not NAME=MODEL:SHARE, such as new=81d07a5b:10%"),
        (("new=bbbbbbbb",), "is not NAME=MODEL:SHARE"),
        (("=bbbbbbbb:1%",), "is not NAME=MODEL:SHARE"),
        (("new=latest:1%",), "'latest' cannot be a model"),
        (("new=bbbbbbbb:0%",), "arm new: a share is a percentage from 0.01% to 100%"),
        (("new=bbbbbbbb:100%",), "arms.new.share_bp: expected an integer from 1 to 9999"),
        (("new=bbbbbbbb:1%", "new=cccccccc:1%"), "two arms have one name"),
        (("live=bbbbbbbb:1%",), "arms.live: no arm of a split may be called live"),
        (("a=bbbbbbbb:60%", "b=cccccccc:40.01%"), "their shares add up to 100.01%"),
        ((f"{CARD_NUMBER}=bbbbbbbb:1%",), "an arm is named by a card number"),
    ],
)
def test_arms_that_workers_would_refuse_are_not_sent(
    sent: list[CommandRequest], arms: tuple[str, ...], message: str
) -> None:
    result = run("split", *(part for arm in arms for part in ("--arm", arm)))
    assert (result.exit_code, sent) == (2, [])
    assert message in " ".join(result.stderr.split())
    assert CARD_NUMBER not in result.stderr


def test_excluded_cards_that_workers_would_refuse_are_not_sent(sent: list[CommandRequest], tmp_path: Path) -> None:
    many, numbers, binary = (tmp_path / name for name in ("many", "numbers", "binary"))
    many.write_text("\n".join(f"card-{number}" for number in range(1_001)))
    numbers.write_text(f"card-1\n{CARD_NUMBER}\n")
    binary.write_bytes(b"\xff\xfe")
    for option, given, message in (
        ("--exclude-file", str(many), "exclude: 1,001 cards, more than 1,000"),
        ("--exclude-file", str(numbers), "one is a card number; name cards by their tokens"),
        ("--exclude-file", str(binary), "cannot be read as text"),
        ("--exclude", CARD_NUMBER, "one is a card number; name cards by their tokens"),
        ("--exclude", "card 1", "exclude: 1 of 1 are no cards; a `card_id` is 1 to 64 letters"),
        ("--exclude", hash_by_the_contract("card-1"), "exclude: 1 of 1 are no cards; a `card_id` is 1 to 64"),
    ):
        result = run("split", "--arm", "new=bbbbbbbb:1%", option, given)
        assert (result.exit_code, sent) == (2, [])
        assert message in " ".join(result.stderr.split())
        assert CARD_NUMBER not in result.stderr


# --- how it is shown


@pytest.fixture
def history(monkeypatch: pytest.MonkeyPatch) -> History:
    found = history_of("default", EVENTS, {})
    answer_reads(monkeypatch, "read_history", lambda: found, model_history)
    monkeypatch.setattr(model_history, "names_of_models", lambda *_: {})
    return found


def test_the_history_says_which_arms_there_were_and_which_won(history: History) -> None:
    found = [line.strip() for line in run("history").stdout.splitlines()]
    split = f"control {'a' * 12} at 10%, new {'b' * 12} at 10%, 2 cards excluded"
    assert f"split: none -> {split}" in found
    assert f"split: {split} -> none, won by new" in found
    assert f"live: {'a' * 12} -> {'b' * 12}" in found
    begun, ended = [json.loads(line) for line in run("history", "--json").stdout.splitlines()][1:]
    unnamed = {"name": None, "version": None, "share_bp": 1_000}
    arms = {"control": {"digest": A} | unnamed, "new": {"digest": B} | unnamed}
    assert begun["after"]["split"] == {"arms": arms, "salt": "s", "excluded_cards": 2}
    assert begun["exclude"] == ["card-1", "card-2"], "as the record has it"
    assert (begun["before"]["split"], ended["before"]["split"], ended["after"]["split"]) == (
        None,
        begun["after"]["split"],
        None,
    )
    assert [entry.concerns(B) for entry in history.entries] == [False, True, True]
    assert history.entries[1].digests == {A, B}


def test_who_was_live_says_for_whom_each_arm_decided(monkeypatch: pytest.MonkeyPatch, history: History) -> None:
    reign = reign_at(history.entries, 1_767_225_600_000)
    assert reign is not None
    first = WhoAt(reign_at(history.entries[:2], 1_767_225_600_000), {0: FirstDecision(3, 3)}, history)

    answer_reads(monkeypatch, "who_at", lambda: first, model_who)
    monkeypatch.setattr(model_who, "names_of", lambda *_: {})
    found = [line.strip() for line in run("who", "--at", "2026-01-01T00:00:00Z").stdout.splitlines()]
    assert found[1:5] == [
        f"live: {'a' * 12} for all other cards",
        f"arm control: {'a' * 12} for 10% of the cards, salt s",
        f"arm new: {'b' * 12} for 10% of the cards, salt s",
        "excluded: 2 cards, which are always the live model's",
    ]
    shown = json.loads(run("who", "--at", "2026-01-01T00:00:00Z", "--json").stdout)
    assert (shown["canary"], sorted(shown["split"]["arms"])) == (None, ["control", "new"])
    assert (shown["split"]["excluded_cards"], "exclude" in shown["split"]) == (2, False)


def test_who_was_live_is_not_said_where_excluded_cards_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    cards = hashed("card-1")
    hidden = {"exclude": cards.entries, "exclude_key_check": cards.key_check}
    found = history_of("default", [EVENTS[0], accepted(2, "split", arms=ARMS, salt="s", **hidden)], {})

    answer_reads(monkeypatch, "read_log", lambda: SimpleNamespace(events=[]), who)
    answer_reads(monkeypatch, "history_with_commands", lambda: found, who)
    result = run("who", "--at", "2026-01-01T00:00:00Z")
    assert result.exit_code == 1
    assert "1 excluded cards are hashed with a key, and this process has none" in result.stderr
    assert "card-1" not in result.output


@pytest.mark.parametrize(
    ("split", "texts"),
    [
        (Split((Arm("new", B, 1_000), Arm("zero", C, 50)), "s"), {A: "live", B: "arm new 10%", C: "arm zero 0.5%"}),
        (
            Split((Arm("a", A, 500), Arm("b", B, 500), Arm("c", B, 1)), "s"),
            {A: "live, arm a 5%", B: "arm b 5%, arm c 0.01%"},
        ),
    ],
)
def test_the_role_of_a_model_names_its_arms(split: Split, texts: dict[str, str]) -> None:
    roles = roles_of(Lineup("default", 3, A, split=split, previous=(C,)))
    assert {digest: roles.text(digest) for digest in texts} == texts
    assert roles.by_digest[A] == "live"
    assert roles.by_digest[B] == "arm"
    assert roles.arms(B) == [arm.name for arm in split.arms if arm.model == B]


def test_the_role_of_a_canary_is_named_with_its_share() -> None:
    started = accepted(2, "canary", B, share_bp=50, salt="s")
    roles = roles_of(follow(Lineup("default", 1, A), started))
    assert (roles.text(B), roles.by_digest[B], roles.arms(B)) == ("canary 0.5%", "canary", [])
