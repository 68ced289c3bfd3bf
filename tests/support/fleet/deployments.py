"""Two deployments on the same topics, hand-overs between them, and what must hold of `scores` afterwards."""

import asyncio
import json
import sys
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from fraudstream_client.outputs import Score
from fraudstream_client.validity import ValidScores
from models.commands import CommandKind, Event
from models.terms import term_of
from stream.control.client import CommandRequest, send_command
from stream.engine.tracing import NoOperationTracing
from stream.settings import Settings
from support.fleet.fleet import Fleet, sources, until
from support.fleet.payments import put_model
from support.fleet.workers import Worker


def other_deployment(
    fleet: Fleet,
    start_worker: Callable[..., Worker],
    name: str = "green",
    python: Sequence[str] = (sys.executable,),
    **settings: str,
) -> Fleet:
    """Return another deployment on the topics of `fleet`, with models of its own."""
    models = str(Path(fleet.folder) / f"{name}-models")
    own = {"DEPLOYMENT": f"{fleet.prefix}{name}", "GROUP": "", "MODELS": models} | settings
    return Fleet(fleet.environment | own, fleet.folder, start_worker, python)


def go_live_when_warm(green: Fleet, workers: int = 1, seed: int = 0, digest: str = "") -> list[Worker]:
    """Start workers of another deployment, and promote a model once its histories are rebuilt from Kafka.

    Without the digest of a model in its repository one is put there.
    """
    digest, started = digest or put_model(green.models, seed=seed), [green.worker() for _ in range(workers)]
    until(lambda: all(worker.has_joined for worker in started), "the group is joined")

    def promoted() -> bool:
        done = green.cli("model", "promote", digest, "--reason", "test", "--json", "--wait", "30")
        assert done.returncode == 0 or "features_warming" in done.stdout, done.stdout
        return done.returncode == 0

    until(promoted, "the model is live")
    for worker in started:
        worker.await_ready()
    return started


def cut_over(fleet: Fleet, *, force: bool = False, wait: float = 30.0, **fields: Any) -> Event | None:
    """Ask for a hand-over to a deployment, and return the verdict; the evidence is a test's word."""
    named = {name.lower(): value for name, value in fleet.environment.items() if name in _CONNECTING}
    evidence = {} if force else {"go": True}
    request = CommandRequest(
        CommandKind.CUT_OVER, "ann", "test", wait, force=force, **({"evidence": evidence} | fields)
    )
    return asyncio.run(send_command(Settings(**named), request, NoOperationTracing()))[1]


_CONNECTING = ("BROKERS", "TOPIC_PREFIX", "DEPLOYMENT", "GROUP")


def hand_over(fleet: Fleet) -> Event:
    """Hand over to a deployment as soon as its workers could publish."""
    found: list[Event] = []

    def accepted() -> bool:
        verdict = cut_over(fleet)
        assert verdict is not None
        found.append(verdict)
        return verdict.kind == "accepted"

    until(accepted, f"{fleet.environment['DEPLOYMENT']} may publish")
    return found[-1]


def silent_scores(fleet: Fleet) -> list[Score]:
    """Return the valid scores of a deployment's own topic."""
    reader: ValidScores[Any] = ValidScores()
    return [score for _, score in reader.of(fleet.read(f"scores-{fleet.environment['DEPLOYMENT']}"))]


def diff(fleet: Fleet) -> dict[str, Any]:
    """Make every decision of a deployment again, with its own code and histories, and return the summary."""
    done = fleet.cli("score", "--topic", "--diff", "--json", "--threads", "1", seconds=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class PublishedByTerm(NamedTuple):
    """What `scores` hold by the rule of valid scores.

    `decided` are the valid scores of each partition in order; `undecided` and `decided_twice` count offsets of
    `transactions`; `sent_twice` those that are no decision's since their payment is on an earlier offset that has one;
    `changed_more_than_once` counts the terms of a partition that it returned to, and decisions of a
    term by a deployment that was not named in it. `examples` tell of undecided offsets whether the payment is on other
    offsets as well, and which scores name it, by partition, offset on `scores`, epoch and offset of the payment.
    """

    decided: Mapping[int, Sequence[Score]]
    payments: int
    undecided: int
    sent_twice: int
    examples: Sequence[Mapping[str, Any]]
    decided_twice: int
    changed_more_than_once: int
    void: int

    @property
    def firsts(self) -> dict[int, dict[int, int]]:
        """The first offset of each term, by partition."""
        found: dict[int, dict[int, int]] = {}
        for partition, scores in self.decided.items():
            for score in scores:
                term = term_of(score.epoch)
                found.setdefault(partition, {}).setdefault(term, score.source.offset)
        return found


def published_by_term(fleet: Fleet, publishers: Sequence[str]) -> PublishedByTerm:
    """Read `scores` as a consumer does that knows nothing of fleets, and count what must not be.

    `publishers` are the deployments that were named, from term 0 on.
    """
    scores, reader = fleet.scores()
    decided: dict[int, list[Score]] = defaultdict(list)
    for score in scores:
        decided[score.source.partition].append(score)
    offered = {(partition, at) for partition, end in fleet.ends("transactions").items() for at in range(end)}
    counts, wrong = sources(scores), 0
    for of_partition in decided.values():
        terms = [term_of(score.epoch) for score in of_partition]
        wrong += sum(later < earlier for earlier, later in pairwise(terms))
        wrong += sum(one.deployment != publishers[term] for one, term in zip(of_partition, terms, strict=True))
    names = {score.transaction_id for score in scores}
    unscored = [_unscored(fleet, place, names) for place in sorted(offered - counts.keys())[:_LOOKED_AT]]
    undecided = [one for one in unscored if not one["sent_twice"]]
    return PublishedByTerm(
        decided,
        payments=len(offered),
        undecided=len(offered - counts.keys()) - (len(unscored) - len(undecided)),
        examples=undecided,
        sent_twice=len(unscored) - len(undecided),
        decided_twice=sum(n > 1 for n in counts.values()),
        changed_more_than_once=wrong,
        void=reader.void,
    )


_LOOKED_AT = 20


def _unscored(fleet: Fleet, place: tuple[int, int], decided: set[str]) -> dict[str, Any]:
    """Return what the topics hold about the payment at a partition and an offset that has no valid score."""
    payments = {(one.partition, one.offset): json.loads(one.value or b"{}") for one in fleet.read("transactions")}
    name = payments.get(place, {}).get("transaction_id")
    scores = [(one, json.loads(one.value or b"{}")) for one in fleet.read("scores")]
    also_at = [at for at, one in payments.items() if one.get("transaction_id") == name and at != place]
    return {
        "place": place,
        "transaction_id": name,
        "also_at": also_at,
        "sent_twice": name in decided and any(at[0] == place[0] and at < place for at in also_at),
        "scores": [
            (one.partition, one.offset, score["epoch"], score["source"]["offset"])
            for one, score in scores
            if score["transaction_id"] == name
        ],
    }


def assert_published_once(fleet: Fleet, publishers: Sequence[str]) -> PublishedByTerm:
    """Check that all payments are decided once, and each term's decisions are those of its deployment, in one run."""
    found = published_by_term(fleet, publishers)
    assert (found.undecided, found.decided_twice, found.changed_more_than_once) == (0, 0, 0), found.examples
    return found


def assert_announced(green: Fleet, firsts: dict[int, dict[int, int]]) -> None:
    """Check that a `handover` event says of each partition and term above 0 what `scores` say."""
    expected = {
        (partition, term): offset for partition, of_terms in firsts.items() for term, offset in of_terms.items() if term
    }

    def announced() -> dict[tuple[int, int], int]:
        found: dict[tuple[int, int], int] = {}
        for event in green.events("handover"):
            found.setdefault((event["partition"], event["term"]), event["offset"])
        return found

    until(lambda: announced().keys() >= expected.keys(), "every hand-over is announced")
    assert announced() == expected
