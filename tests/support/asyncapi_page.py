"""The AsyncAPI document of the documentation, its page, and the tables of rights, from the facts of the code."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from features.declaration import DAY_MS
from fraudstream.contract.acls import acl_script
from fraudstream.contract.asyncapi import asyncapi_document, yaml_text
from fraudstream.contract.topic_facts import ROLE_MEANINGS, Role, topic_facts
from stream.kafka.topics import UNLIMITED
from stream.settings import Settings

Table = Callable[[tuple[str, ...], Sequence[tuple[str, ...]]], str]
Document = Mapping[str, Any]
REFERENCE = Settings(brokers="kafka-1:9093", cloud_events=True)
"""All that can be asked for is in the document of the documentation."""


def reference_document() -> dict[str, Any]:
    """Return the document of the default names, as JSON has it."""
    found: dict[str, Any] = json.loads(json.dumps(asyncapi_document(REFERENCE)))
    return found


def reference_text() -> str:
    """Return what stands in docs/reference/asyncapi.yaml."""
    head = "# Of the default names. `fraudstream contract asyncapi` prints the document of your deployment.\n"
    return head + yaml_text(reference_document())


def channels(table: Table) -> str:
    """Write a section for each topic: its key, its settings, who reads and writes it, and its messages."""
    document = reference_document()
    return "\n\n".join("\n\n".join(_section(table, document, *one)) for one in document["channels"].items())


def _section(table: Table, document: Document, name: str, channel: Document) -> Iterator[str]:
    yield f"## `{name}`" + ("" if channel["address"] == name else ", on `scores-<deployment>`")
    yield channel["description"]
    settings = channel["bindings"]["kafka"]["topicConfiguration"]
    days = settings["retention.ms"]
    facts = [
        ("key", channel["x-key"]),
        ("written by", ", ".join(channel["x-writers"])),
        ("read by", ", ".join(channel["x-readers"])),
        ("kept", "for ever" if days == UNLIMITED else f"{days // DAY_MS} days"),
        ("largest record", f"{settings['max.message.bytes']:,} bytes"),
    ]
    yield table(("", ""), facts)
    for message in channel["messages"]:
        yield from _message(table, document["components"]["messages"][message])


def _message(table: Table, message: Document) -> Iterator[str]:
    record = message["title"].partition(":")[0]
    is_record = "/" in record
    kind = f"[`{message['title']}`](records-and-topics.md#{message['title'].replace('/', '').replace(':', '')})"
    yield f"**{message['name']}**: {kind if is_record else message['title']}. {message['summary']}"
    headers = message["headers"]
    rows = [
        (f"`{name}`", "yes" if name in headers.get("required", ()) else "", _form(schema), schema["description"])
        for name, schema in headers["properties"].items()
    ]
    if rows:
        yield table(("header", "always", "form", "meaning"), rows)
    yield headers.get("description", "No other headers." if rows else "No headers.")


def _form(schema: Document) -> str:
    values = schema.get("enum")
    if values is None:
        return f"`{schema['pattern']}`" if "pattern" in schema else "text"
    return "a [code](dead-letter-codes.md)" if len(values) > _MANY else ", ".join(f"`{value}`" for value in values)


_MANY = 5


def access_rules() -> str:
    """Write the access rules of the default names, for a shell."""
    return f"```bash\n{acl_script(REFERENCE)}\n```"


def rights(table: Table) -> str:
    """Write who reads and who writes each topic."""
    rows = [(f"`{one.layout.name}`", ", ".join(one.writers), ", ".join(one.readers)) for one in topic_facts(REFERENCE)]
    return table(("topic", "written by", "read by"), rows)


def roles(table: Table) -> str:
    """Write what each role is."""
    return table(("role", "what it does"), [(f"`{role}`", ROLE_MEANINGS[role]) for role in Role])
