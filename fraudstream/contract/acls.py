"""The access rules of a deployment's topics and groups, as the commands of `kafka-acls.sh` that grant them.

Who reads and writes a topic stands in `topic_facts`; here stands what else a role needs, and what for.
"""

import shlex
from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import NamedTuple

from fraudstream.contract.topic_facts import Role, TopicFacts, topic_facts
from fraudstream.ops.rollout.guard.presence import guards_group
from fraudstream.ops.watch.explanations.reader import group_of
from stream.kafka.topics import LABELS, TRANSACTIONS
from stream.settings import Settings

_COLUMNS = 120
_GROUP_OF_CONSUMERS = "fraud-desk"
_ARCHIVES = "archive-transactions", "archive-labels"
_COMMENTS = {
    Role.OPERATOR: (
        "The operator creates topics, sends model commands, and reads: topics apply, model …, shadow report, dead "
        "letters (with their originals, labels too), rollout status and guard replay, which count outcomes as well. "
        "topics audit reads all payments, and model prune predictions and explanations (the latter not with "
        "--skip-decisions). By the members of the workers' group, a command without an answer tells whether a worker "
        "is there to judge it; by those of the guards' group, status and model promote say whether a guard runs."
    ),
    Role.WORKER: (
        "A worker reads its inputs, its own decisions and what was refused, and checks that all topics exist. It "
        "reads predictions only where features do."
    ),
    Role.GUARD: (
        "A guard counts decisions, comparisons and outcomes, and acts by commands. It needs no Redis, and reads "
        "manifests in the model repository. For incidents it also reads what was refused and what waits, how far the "
        "workers' group is, and what it has told; the group that ends with -incidents is that of the guards: it shows "
        "that they run, and one of them sends to the webhook."
    ),
    Role.EXPLAIN: (
        "What explains alerts reads decisions and writes reasons, in a group of its own. It needs no Redis."
    ),
    Role.PRODUCER: ("A producer of payments or labels: publish (which reads the topics' size limits), or your own."),
    Role.TEACHER: "A job that publishes predictions.",
    Role.BACKFILL: (
        "A backfill: it also reads what it has written, and how far the workers have applied it; with --topic it reads "
        "topics of your own, here archive-transactions and archive-labels. Needed once."
    ),
    Role.CONSUMER: "A consumer of decisions and their reasons, in a group of its own.",
}


class Grant(NamedTuple):
    """What one role may do with some topics, or with some consumer groups."""

    role: Role
    operations: tuple[str, ...]
    topics: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()

    def arguments(self) -> list[str]:
        """Return the user and what is granted, as `kafka-acls.sh` takes them."""
        named = (("--operation", self.operations), ("--topic", self.topics), ("--group", self.groups))
        return [f"User:{self.role}", *(word for option, values in named for one in values for word in (option, one))]


def grants(settings: Settings) -> tuple[Grant, ...]:
    """Return what each role needs, in the order of the roles."""
    facts = topic_facts(settings)
    return tuple(grant for role in Role for grant in _of_role(settings, facts, role))


def _of_role(settings: Settings, facts: Sequence[TopicFacts], role: Role) -> Iterator[Grant]:
    """Yield what a role needs beside reading and writing, and these."""
    if role is Role.OPERATOR:
        every = tuple(settings.topic(one.layout.name) for one in facts)
        yield Grant(role, ("Create", "Describe", "DescribeConfigs", "AlterConfigs"), every)
    read = tuple(settings.topic(one.layout.name) for one in facts if role in one.readers)
    written = tuple(settings.topic(one.layout.name) for one in facts if role in one.writers)
    if read:
        yield Grant(role, ("Read",), (*read, *(_ARCHIVES if role is Role.BACKFILL else ())))
    if written:
        yield Grant(role, ("Write",), written)
    configured = _configured(facts, role)
    if configured:
        yield Grant(role, ("DescribeConfigs",), tuple(map(settings.topic, configured)))
    for operation, group in _groups(settings, role):
        yield Grant(role, (operation,), groups=(group,))


def _configured(facts: Sequence[TopicFacts], role: Role) -> list[str]:
    """Return the topics whose settings a role looks at: a worker for dangers, those that send for their limits."""
    if role is Role.WORKER:
        return [one.layout.name for one in facts if one.layout.of_workers and one.channel != "silent-scores"]
    return [TRANSACTIONS.name, LABELS.name] if role in (Role.PRODUCER, Role.BACKFILL) else []


def _groups(settings: Settings, role: Role) -> tuple[tuple[str, str], ...]:
    """Return what a role may do with consumer groups."""
    workers, guards = settings.group, guards_group(settings)
    return {
        Role.OPERATOR: (("Describe", workers), ("Describe", guards)),
        Role.WORKER: (("Read", workers),),
        Role.GUARD: (("Describe", workers), ("Read", guards)),
        Role.EXPLAIN: (("Read", group_of(settings)),),
        Role.BACKFILL: (("Describe", workers),),
        Role.CONSUMER: (("Read", _GROUP_OF_CONSUMERS),),
    }.get(role, ())


def acl_script(settings: Settings) -> str:
    """Return the commands for a shell: a function, and for each role a comment and what it is granted."""
    brokers = shlex.quote(settings.brokers)
    lines = [f"acl() {{ kafka-acls.sh --bootstrap-server {brokers} --command-config admin.properties --add \\"]
    lines.append('  --allow-principal "$@"; }')
    wanted = grants(settings)
    for role in Role:
        lines += ["", *wrap(_COMMENTS[role], _COLUMNS, initial_indent="# ", subsequent_indent="# ")]
        for grant in wanted:
            if grant.role is role:
                lines += _folded(["acl", *map(shlex.quote, grant.arguments())])
    return "\n".join(lines)


def _folded(words: Sequence[str]) -> list[str]:
    """Return a command on lines of at most 120 columns, each but the last continued; no option leaves its value."""
    pairs = [" ".join(words[at : at + 2]) for at in range(0, len(words), 2)]
    lines = [pairs[0]]
    for pair in pairs[1:]:
        if len(lines[-1]) + len(pair) + len("  \\") > _COLUMNS:
            lines[-1] += " \\"
            lines.append(f"  {pair}")
        else:
            lines[-1] += f" {pair}"
    return lines
