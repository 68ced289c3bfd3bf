"""The contract of a deployment as an AsyncAPI 3.1 document: what generators, catalogues and gateways read.

https://www.asyncapi.com/docs/reference/specification/v3.1.0 says what each part is. The application is fraudstream, so
an operation `receive` reads a topic and `send` writes one; who else may, is in `x-readers` and `x-writers`.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from typing import Any

import msgspec

from fraudstream.contract.record_headers import CORRELATION, HeaderFacts
from fraudstream.contract.topic_facts import ROLE_MEANINGS, MessageFacts, Role, TopicFacts, topic_facts
from fraudstream.ops.watch.explanations.reader import group_of
from models.logins import without_logins
from stream.contract.schema import RECORDS, portable
from stream.kafka.topics import TopicLayout
from stream.settings import Settings

ASYNCAPI_VERSION = "3.1.0"
BINDING_VERSION = "0.5.0"
_SCHEMAS = "#/components/schemas/"
_VERBS = {"receive": "Reads", "send": "Writes"}
_SECURITY = {
    "PLAIN": "plain",
    "SCRAM-SHA-256": "scramSha256",
    "SCRAM-SHA-512": "scramSha512",
    "GSSAPI": "gssapi",
}
_DESCRIPTION = """\
Card payments in, exactly one decision each out. Values are JSON objects in UTF-8; keys and headers are UTF-8.
Of records that fraudstream reads, unlisted fields are ignored and counted. Within a version of a record (`score/1`),
fields are only added. Ids that are card numbers are refused."""


def asyncapi_document(settings: Settings, partitions: int | None = None) -> dict[str, Any]:
    """Return the document of a deployment; with `partitions` it names the number of those of `transactions`."""
    facts = topic_facts(settings)
    return {
        "asyncapi": ASYNCAPI_VERSION,
        "id": f"urn:fraudstream:{settings.deployment}",
        "info": {
            "title": f"fraudstream, deployment {settings.deployment}",
            "version": version("fraudstream"),
            "description": _DESCRIPTION,
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": _servers(settings),
        "channels": {one.channel: _channel(settings, one, partitions) for one in facts},
        "operations": dict(_operations(settings, facts)),
        "components": {
            "messages": {
                message.name: _message(settings, topic, message) for topic in facts for message in topic.messages
            },
            "schemas": component_schemas(),
            **_security_schemes(settings),
        },
        "x-roles": {str(role): ROLE_MEANINGS[role] for role in Role},
    }


def _servers(settings: Settings) -> dict[str, Any]:
    """Return a server for each broker that the settings name."""
    is_secure = settings.kafka_security_protocol != "PLAINTEXT"
    security = {"security": [{"$ref": "#/components/securitySchemes/login"}]} if _security_schemes(settings) else {}
    return {
        f"kafka-{number}": {
            "host": address,
            "protocol": "kafka-secure" if is_secure else "kafka",
            "description": f"Security protocol {settings.kafka_security_protocol}.",
            **security,
        }
        for number, address in enumerate(settings.brokers.split(","), 1)
    }


def _security_schemes(settings: Settings) -> dict[str, Any]:
    """Return how a client logs in, as far as AsyncAPI has a word for it."""
    protocol = settings.kafka_security_protocol
    login: dict[str, Any] | None = None
    if protocol.startswith("SASL"):
        login = _sasl_scheme(settings)
    elif protocol == "SSL" and settings.kafka_ssl_certfile:
        login = {"type": "X509"}
    return {} if login is None else {"securitySchemes": {"login": login}}


def _sasl_scheme(settings: Settings) -> dict[str, Any] | None:
    """Return the scheme of a SASL mechanism; None for tokens of a file or of AWS, for which AsyncAPI has no word."""
    if settings.kafka_sasl_mechanism != "OAUTHBEARER":
        return {"type": _SECURITY[settings.kafka_sasl_mechanism]}
    if not settings.kafka_oauth_token_endpoint:
        return None
    scopes = dict.fromkeys(settings.kafka_oauth_scope.split(), "")
    endpoint = without_logins(settings.kafka_oauth_token_endpoint)
    return {"type": "oauth2", "flows": {"clientCredentials": {"tokenUrl": endpoint, "availableScopes": scopes}}}


def _channel(settings: Settings, topic: TopicFacts, partitions: int | None) -> dict[str, Any]:
    address = settings.topic(topic.layout.name)
    number = partitions if topic.layout.partitioned else 1
    like = f" A record has the partition number of its {topic.partitions_as}." if topic.partitions_as else ""
    count = "As many partitions as `topics apply --partitions` says." if topic.layout.partitioned else "One partition."
    return {
        "address": address,
        "title": topic.channel,
        "description": f"{topic.about} {count}{like}",
        "messages": {one.name: {"$ref": f"#/components/messages/{one.name}"} for one in topic.messages},
        "bindings": {
            "kafka": {
                "topic": address,
                **({} if number is None else {"partitions": number}),
                "topicConfiguration": _configuration(topic.layout),
                "bindingVersion": BINDING_VERSION,
            }
        },
        "x-key": topic.key.about,
        **({"x-partitions-as": topic.partitions_as} if topic.partitions_as else {}),
        "x-readers": [str(role) for role in topic.readers],
        "x-writers": [str(role) for role in topic.writers],
    }


def _configuration(layout: TopicLayout) -> dict[str, Any]:
    """Return how `topics apply` configures a topic; in-sync replicas depend on the number of replicas."""
    values: dict[str, Any] = dict(layout.configuration(replication=1))
    del values["min.insync.replicas"]
    policies = {"cleanup.policy": values.pop("cleanup.policy").split(",")}
    return policies | {name: int(value) for name, value in values.items()}


def _operations(settings: Settings, facts: Sequence[TopicFacts]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield what each process of fraudstream reads and writes."""
    for topic in facts:
        for action, roles in (("receive", topic.readers), ("send", topic.writers)):
            for role in roles:
                if role.is_ours:
                    yield f"{role}{_VERBS[action]}{_camel(topic.channel)}", _operation(settings, topic, action, role)


def _operation(settings: Settings, topic: TopicFacts, action: str, role: Role) -> dict[str, Any]:
    group = _group(settings, topic, role) if action == "receive" else None
    binding = {"groupId": {"type": "string", "enum": [group]}, "bindingVersion": BINDING_VERSION}
    return {
        "action": action,
        "channel": {"$ref": f"#/channels/{topic.channel}"},
        "summary": f"`{role}` {_VERBS[action].lower()} {topic.channel}.",
        "messages": [{"$ref": f"#/channels/{topic.channel}/messages/{one.name}"} for one in topic.messages],
        **({} if group is None else {"bindings": {"kafka": binding}}),
    }


def _group(settings: Settings, topic: TopicFacts, role: Role) -> str | None:
    """Return the consumer group in which a process reads a topic; None: it reads by its own account."""
    if role is Role.WORKER and topic.layout.from_outside:
        return settings.group
    return group_of(settings) if role is Role.EXPLAIN else None


def _camel(name: str) -> str:
    return "".join(word.capitalize() for word in name.split("-"))


def _message(settings: Settings, topic: TopicFacts, message: MessageFacts) -> dict[str, Any]:
    correlated = CORRELATION in message.optional
    examples = [_with_event_headers(settings, message, one) for one in stored_examples().get(message.name, [])]
    return {
        "name": message.name,
        "title": message.record or "a record of any value",
        "summary": message.about,
        "contentType": "application/json" if message.record else "application/octet-stream",
        "headers": _headers(settings, message),
        "payload": _payload(settings, message),
        **({"correlationId": {"location": f"$message.header#/{CORRELATION.name}"}} if correlated else {}),
        "bindings": {
            "kafka": {
                "key": {**topic.key.schema, "description": topic.key.about},
                "bindingVersion": BINDING_VERSION,
            }
        },
        **({"examples": examples} if examples else {}),
    }


def _headers(settings: Settings, message: MessageFacts) -> dict[str, Any]:
    """Return the schema of a message's headers, as an object of their names."""
    event: Sequence[HeaderFacts] = message.event if settings.cloud_events else ()
    named = (*message.required, *message.optional, *event)
    return {
        "type": "object",
        **({"description": message.others} if message.others else {}),
        "properties": {one.name: one.schema() for one in named},
        **({"required": [one.name for one in message.required]} if message.required else {}),
        "additionalProperties": bool(message.others),
    }


def _payload(settings: Settings, message: MessageFacts) -> dict[str, Any]:
    if message.record:
        return {"$ref": f"{_SCHEMAS}{RECORDS[message.record].__name__}"}
    if settings.dead_letter_values == "none":
        return {"type": "null", "description": "No value: the original is at its place."}
    return {"description": "The refused value, card numbers removed: bytes of any form."}


def component_schemas() -> dict[str, Any]:
    """Return the JSON Schemas of all records and their parts, by name; unknown fields are allowed in each."""
    _, found = msgspec.json.schema_components(RECORDS.values(), ref_template=f"{_SCHEMAS}{{name}}")
    return {_short(name): _open(portable(_renamed(schema))) for name, schema in found.items()}


def _open(schema: dict[str, Any]) -> dict[str, Any]:
    return schema | {"additionalProperties": True} if "properties" in schema else schema


def _short(name: str) -> str:
    """Return a schema's name without dots: of two of one name, msgspec names the modules."""
    *_, module, kind = ("", "", *name.split("."))
    return f"{module.capitalize()}{kind}"


def _renamed(part: Any) -> Any:  # noqa: ANN401 - any JSON
    match part:
        case dict():
            return {
                name: f"{_SCHEMAS}{_short(value.removeprefix(_SCHEMAS))}" if name == "$ref" else _renamed(value)
                for name, value in part.items()
            }
        case list():
            return [_renamed(one) for one in part]
    return part


@cache
def stored_examples() -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """Return examples, made by the code that writes such records, with their headers, by the name of the message."""
    found: dict[str, list[dict[str, Any]]] = json.loads((files(__package__) / "examples.json").read_text())
    return found


def _with_event_headers(settings: Settings, message: MessageFacts, example: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return an example as the deployment writes it: without the headers of an event, unless it writes these."""
    if settings.cloud_events:
        return example
    of_event = {one.name for one in message.event}
    return {**example, "headers": {name: text for name, text in example["headers"].items() if name not in of_event}}


_PLAIN_KEY = re.compile(r"[A-Za-z$][A-Za-z0-9._/-]*")
_AMBIGUOUS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
"""Keys that YAML 1.1 takes for other things than texts."""


def yaml_text(document: Mapping[str, Any]) -> str:
    """Return plain JSON as YAML, in the block style; texts are quoted as in JSON, which YAML reads."""
    return "\n".join(_yaml_lines(document)) + "\n"


def _yaml_lines(value: Any, indent: str = "") -> Iterator[str]:  # noqa: ANN401 - any JSON
    """Yield the lines of an object or a list that is not empty."""
    entries = [(f"{_key(name)}:", one) for name, one in value.items()] if isinstance(value, Mapping) else None
    for mark, one in [("-", one) for one in value] if entries is None else entries:
        if not (isinstance(one, Mapping | list) and one):
            yield f"{indent}{mark} {json.dumps(one, ensure_ascii=False)}"
        elif mark == "-":
            first, *rest = _yaml_lines(one, f"{indent}  ")
            yield f"{indent}- {first.lstrip()}"
            yield from rest
        else:
            yield f"{indent}{mark}"
            yield from _yaml_lines(one, f"{indent}  ")


def _key(name: str) -> str:
    is_plain = _PLAIN_KEY.fullmatch(name) and name.lower() not in _AMBIGUOUS
    return name if is_plain else json.dumps(name, ensure_ascii=False)
