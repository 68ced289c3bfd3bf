"""What differs between two AsyncAPI documents of fraudstream, and what of it breaks readers or writers.

A topic that producers or operators write is an *input*: a break is what refuses a record that was accepted before. On
any other topic, an *output*, a break is also what a reader has not met before: a type, or a field that may now be
absent. Records that were written under the old document stay on a topic, so what they hold must stay allowed.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, NamedTuple

import msgspec

from fraudstream.contract.topic_facts import Role

Schema = Mapping[str, Any]
_LOWER = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_UPPER = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_INCOMPARABLE = ("pattern", "not")
_NO_TYPE = "anything"
_FIELD = re.compile("`[^`]+`")


class _KafkaTopic(msgspec.Struct):
    topicConfiguration: dict[str, Any]  # noqa: N815 - AsyncAPI's name


class _TopicBindings(msgspec.Struct):
    kafka: _KafkaTopic


class _Channel(msgspec.Struct):
    address: str
    messages: dict[str, Any]
    bindings: _TopicBindings
    key: str = msgspec.field(name="x-key")
    readers: list[str] = msgspec.field(name="x-readers")
    writers: list[str] = msgspec.field(name="x-writers")


class _KafkaMessage(msgspec.Struct):
    key: dict[str, Any]


class _MessageBindings(msgspec.Struct):
    kafka: _KafkaMessage


class _Message(msgspec.Struct):
    title: str
    contentType: str  # noqa: N815 - AsyncAPI's name
    headers: dict[str, Any]
    payload: dict[str, Any]
    bindings: _MessageBindings


class _Components(msgspec.Struct):
    messages: dict[str, _Message]
    schemas: dict[str, Any]


class _Document(msgspec.Struct):
    """What a comparison reads of a document: one that lacks it is refused before: an error would look as a break."""

    asyncapi: Annotated[str, msgspec.Meta(pattern=r"^3\.")]
    channels: dict[str, _Channel]
    components: _Components
    roles: dict[str, str] = msgspec.field(name="x-roles")


def unfit(found: object) -> str | None:
    """Return why what was read is no document that can be compared, as it follows a name; None if it is one."""
    try:
        document = msgspec.convert(found, _Document)
    except msgspec.ValidationError as error:
        return f"is no document of `fraudstream contract asyncapi --json`, of AsyncAPI 3: {error}"
    sent = {name for channel in document.channels.values() for name in channel.messages}
    if missing := sorted(sent - document.components.messages.keys()):
        return f"is cut off: {', '.join(missing)} is not among the components' messages"
    return None


class Change(NamedTuple):
    """One difference: `name` is what it is about, as a CHANGELOG names it, such as `score/1.model.digest`."""

    name: str
    what: str
    is_break: bool

    def __str__(self) -> str:
        return f"{'breaks' if self.is_break else 'differs'}: `{self.name}`: {self.what}"


class _Difference(NamedTuple):
    """How a schema differs at a place: fewer values are allowed there, or more, or other ones."""

    path: str
    what: str
    narrows: bool = False
    widens: bool = False
    is_addition: bool = False


def changes(old: Schema, new: Schema) -> tuple[Change, ...]:
    """Return all differences of two documents, breaks first; each stands there once."""
    found = dict.fromkeys(_changes_of_channels(old, new))
    return tuple(sorted(found, key=lambda change: not change.is_break))


def _changes_of_channels(old: Schema, new: Schema) -> Iterator[Change]:
    for name, what, is_break in _names(old["channels"], new["channels"], "topic"):
        yield Change(name, what, is_break)
    for name in old["channels"]:
        if name in new["channels"]:
            yield from _changes_of_topic(name, old, new)


def _names(old: Schema, new: Schema, kind: str) -> Iterator[tuple[str, str, bool]]:
    """Yield what has gone, which is a break, and what is new."""
    for name in old:
        if name not in new:
            yield name, f"the {kind} is gone", True
    for name in new:
        if name not in old:
            yield name, f"a new {kind}", False


def _changes_of_topic(topic: str, old: Schema, new: Schema) -> Iterator[Change]:
    before, after = old["channels"][topic], new["channels"][topic]
    if before["address"] != after["address"]:
        yield Change(topic, f"the topic is called {after['address']}, not {before['address']}", is_break=True)
    yield from _changes_of_rights(topic, before, after)
    yield from _changes_of_settings(topic, before, after)
    yield from _changes_of_meaning(topic, before, after)
    for name, what, is_break in _names(before["messages"], after["messages"], "message"):
        yield Change(f"{topic}.{name}", what, is_break)
    is_input = not _is_written_by_us_alone(after)
    for name in before["messages"]:
        if name in after["messages"]:
            yield from _changes_of_message(topic, name, (old, new), is_input=is_input)


def _is_written_by_us_alone(channel: Schema) -> bool:
    return all(Role(name).is_ours for name in channel["x-writers"] if name in set(Role))


def _changes_of_rights(topic: str, before: Schema, after: Schema) -> Iterator[Change]:
    for field, verb in (("x-readers", "read"), ("x-writers", "write")):
        old, new = set(before[field]), set(after[field])
        for role in sorted(old - new):
            yield Change(f"{topic}.{field}", f"{role} may not {verb} it any more", is_break=True)
        for role in sorted(new - old):
            yield Change(f"{topic}.{field}", f"{role} may {verb} it", is_break=False)


def _changes_of_settings(topic: str, before: Schema, after: Schema) -> Iterator[Change]:
    """Yield what became of a topic's settings: a shorter retention or a smaller record is a break."""
    old, new = before["bindings"]["kafka"], after["bindings"]["kafka"]
    if old.get("partitions") != new.get("partitions"):
        what = f"{new.get('partitions', 'any number of')} partitions, not {old.get('partitions', 'any number of')}"
        yield Change(f"{topic}.partitions", what, is_break=True)
    of_old, of_new = old["topicConfiguration"], new["topicConfiguration"]
    for name in sorted(of_old.keys() | of_new.keys()):
        was, now = of_old.get(name), of_new.get(name)
        if was != now:
            is_more = isinstance(was, int) and isinstance(now, int) and (now == -1 or -1 < was < now)
            yield Change(f"{topic}.{name}", f"is {now}, not {was}", is_break=not is_more)


def _changes_of_meaning(topic: str, before: Schema, after: Schema) -> Iterator[Change]:
    """Yield what a key or a partition number stands for now, which no schema says: most keys are texts of one form.

    Another field in the key is a break, other words for the same field are none.
    """
    old, new = before["x-key"], after["x-key"]
    if old != new:
        yield Change(f"{topic}.key", f"is {new!r}, not {old!r}", is_break=_FIELD.findall(old) != _FIELD.findall(new))
    was, now = before.get("x-partitions-as"), after.get("x-partitions-as")
    if was != now:
        like = "its own" if now is None else f"that of its {now}"
        yield Change(f"{topic}.x-partitions-as", f"the partition of a record is {like}", is_break=was is not None)


def _changes_of_message(topic: str, name: str, documents: tuple[Schema, Schema], *, is_input: bool) -> Iterator[Change]:
    old, new = (document["components"]["messages"][name] for document in documents)
    record = old["title"] if old["payload"].get("$ref") else name
    if old["contentType"] != new["contentType"]:
        yield Change(f"{topic}.{name}", f"is {new['contentType']}, not {old['contentType']}", is_break=True)
    parts: tuple[tuple[str, Callable[[Schema], Schema]], ...] = (
        (record, lambda message: message["payload"]),
        (f"{topic}.headers", lambda message: message["headers"]),
        (f"{topic}.key", lambda message: message["bindings"]["kafka"]["key"]),
    )
    for place, part in parts:
        for one in _differences(place, _Side(documents[0], part(old)), _Side(documents[1], part(new))):
            is_break = one.narrows or (one.widens and (not is_input or place.endswith(".key")))
            yield Change(one.path, one.what, is_break and not (one.is_addition and not one.narrows))


class _Side(NamedTuple):
    """A schema within its document, where what it refers to stands."""

    document: Schema
    schema: Schema

    def resolved(self) -> "_Side":
        """Follow a reference."""
        reference = self.schema.get("$ref")
        if reference is None:
            return self
        found: Any = self.document
        for step in reference.removeprefix("#/").split("/"):
            found = found[step]
        return _Side(self.document, found).resolved()

    def part(self, schema: Schema) -> "_Side":
        """Return a part of it, resolved."""
        return _Side(self.document, schema).resolved()

    def kinds(self) -> dict[str, "_Side"]:
        """Return the alternatives by the type of their values."""
        alternatives = [self.part(one) for one in self.schema.get("anyOf", [self.schema])]
        return {kind: one for one in alternatives for kind in _types(one.schema)}


def _types(schema: Schema) -> list[str]:
    if "enum" in schema:
        return sorted({_type_of(value) for value in schema["enum"]})
    kind = schema.get("type", _NO_TYPE)
    return [kind] if isinstance(kind, str) else list(kind)


def _type_of(value: object) -> str:
    if value is None:
        return "null"
    return {bool: "boolean", int: "integer", float: "number"}.get(type(value), "string")


def _differences(path: str, old: _Side, new: _Side) -> Iterator[_Difference]:
    """Yield how the values that are allowed at a place differ."""
    before, after = old.resolved().kinds(), new.resolved().kinds()
    for kind in sorted(before):
        if (same := _kind_of_same_values(kind, after)) is not None:
            yield from _differences_of_kind(path, before[kind], after[same])
        elif _NO_TYPE not in after:
            yield _Difference(path, f"is no {kind} any more", narrows=True)
    for kind in sorted(after.keys() - before.keys()):
        if not (kind == "integer" and "number" in before):
            yield _Difference(path, f"may be {kind}", widens=True)


def _kind_of_same_values(kind: str, kinds: Mapping[str, _Side]) -> str | None:
    """Return the kind that values have now; an integer is a number, too."""
    if kind in kinds:
        return kind
    return "number" if kind == "integer" and "number" in kinds else None


def _differences_of_kind(path: str, old: _Side, new: _Side) -> Iterator[_Difference]:
    yield from _differences_of_values(path, old.schema, new.schema)
    yield from _differences_of_bounds(path, old.schema, new.schema)
    if "properties" in old.schema or "properties" in new.schema:
        yield from _differences_of_fields(path, old, new)
    for name, suffix in (("items", "[]"), ("additionalProperties", ".*"), ("propertyNames", ".*")):
        was, now = old.schema.get(name, True), new.schema.get(name, True)
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            yield from _differences(f"{path}{suffix}", old.part(was), new.part(now))
        elif was != now:
            yield _Difference(f"{path}{suffix}", f"{name} is {now}, not {was}", narrows=was is True, widens=now is True)


def _differences_of_values(path: str, old: Schema, new: Schema) -> Iterator[_Difference]:
    """Yield which values of an enumeration are gone, and which are new; readers must expect new ones."""
    was, now = old.get("enum"), new.get("enum")
    if was is None or now is None:
        if was != now:
            yield _Difference(path, "has other values", narrows=was is None, widens=now is None)
        return
    for value in was:
        if value not in now:
            yield _Difference(path, f"is never {value!r} any more", narrows=True)
    for value in now:
        if value not in was:
            yield _Difference(path, f"may be {value!r}", widens=True, is_addition=True)


def _differences_of_bounds(path: str, old: Schema, new: Schema) -> Iterator[_Difference]:
    for name in (*_LOWER, *_UPPER):
        was, now = old.get(name), new.get(name)
        if was != now:
            sign = 1 if name in _LOWER else -1
            tightens = was is None or (now is not None and sign * now > sign * was)
            yield _Difference(path, f"{name} is {now}, not {was}", narrows=tightens, widens=not tightens)
    for name in _INCOMPARABLE:
        was, now = old.get(name), new.get(name)
        if was != now:
            yield _Difference(path, f"{name} is {now}, not {was}", narrows=now is not None, widens=was is not None)


def _differences_of_fields(path: str, old: _Side, new: _Side) -> Iterator[_Difference]:
    was, now = old.schema.get("properties", {}), new.schema.get("properties", {})
    must, must_now = set(old.schema.get("required", ())), set(new.schema.get("required", ()))
    for name in was:
        if name not in now:
            yield _Difference(f"{path}.{name}", "is gone", narrows=True)
    for name in now:
        is_new, is_required = name not in was, name in must_now
        if is_new:
            what = "is new and required" if is_required else "is new"
            yield _Difference(f"{path}.{name}", what, narrows=is_required, is_addition=True)
            continue
        if is_required != (name in must):
            what = "is required" if is_required else "may be absent"
            yield _Difference(f"{path}.{name}", what, narrows=is_required, widens=not is_required)
        yield from _differences(f"{path}.{name}", old.part(was[name]), new.part(now[name]))
