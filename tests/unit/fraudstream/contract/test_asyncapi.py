"""The AsyncAPI document: valid, whole, of the deployment's settings, and with examples that are real records."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from fraudstream.cli.main import main
from fraudstream.contract.acls import acl_script, grants
from fraudstream.contract.asyncapi import asyncapi_document, stored_examples, yaml_text
from fraudstream.contract.topic_facts import MessageFacts, Role, topic_facts
from stream.contract.codes import DeadLetterCode
from stream.contract.schema import RECORDS, json_schema
from stream.kafka.client import LARGEST_OUTPUT_BYTES
from stream.kafka.topics import layouts_of
from stream.positions.dead_letters import DeadLetter, LetterOrigin
from stream.redaction import redact_json
from stream.settings import Settings
from support.asyncapi import Conformance, Read
from support.npm_packages import NoPackages, installed
from support.stream_records import Told

SPECS = "@asyncapi/specs@6.11.1"
DEFAULT = Settings()
EVENTS = Settings(cloud_events=True)
OF_A_BANK = Settings(
    brokers="kafka-1:9093,kafka-2:9093",
    topic_prefix="eu.",
    deployment="blue",
    group="desk",
    kafka_security_protocol="SASL_SSL",
    kafka_sasl_mechanism="SCRAM-SHA-512",
    kafka_sasl_username="worker",
    kafka_sasl_password="a secret of nobody",  # noqa: S106 - of no server
    dead_letter_values="redacted",
)
BY_TOKEN = Settings(
    kafka_security_protocol="SASL_SSL",
    kafka_sasl_mechanism="OAUTHBEARER",
    kafka_oauth_token_endpoint="https://login.bank.example/token?tenant=7",  # noqa: S106 - an address
    kafka_oauth_client_id="worker",
    kafka_oauth_client_secret="a secret of nobody",  # noqa: S106 - of no server
    kafka_oauth_scope="kafka payments",
)
ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"])),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1), inner)
    ),
)


def document(settings: Settings = DEFAULT, partitions: int | None = None) -> dict[str, Any]:
    """Return the document as JSON has it."""
    found: dict[str, Any] = json.loads(json.dumps(asyncapi_document(settings, partitions)))
    return found


def references(part: Any) -> Iterator[str]:
    match part:
        case dict():
            if isinstance(part.get("$ref"), str):
                yield part["$ref"]
            for one in part.values():
                yield from references(one)
        case list():
            for one in part:
                yield from references(one)


def messages() -> dict[str, MessageFacts]:
    return {message.name: message for topic in topic_facts(DEFAULT) for message in topic.messages}


@pytest.fixture(scope="module")
def schema() -> Any:
    try:
        return json.loads((installed("specs", SPECS) / "@asyncapi/specs/schemas/3.1.0.json").read_text())
    except NoPackages as reason:
        pytest.skip(f"no schema of AsyncAPI: {reason}")


@pytest.mark.parametrize(
    "settings", [DEFAULT, EVENTS, OF_A_BANK, BY_TOKEN], ids=["default", "events", "of a bank", "by token"]
)
def test_the_document_follows_the_schema_of_asyncapi_3_1(schema: Any, settings: Settings) -> None:
    errors = [
        f"{error.json_path}: {error.message[:200]}" for error in Draft7Validator(schema).iter_errors(document(settings))
    ]
    assert errors == []


def test_every_reference_leads_somewhere_and_every_part_is_referred_to() -> None:
    whole = document(EVENTS)
    found = set(references(whole))
    for reference in found:
        part: Any = whole
        for step in reference.removeprefix("#/").split("/"):
            part = part[step]
    for kind, parts in whole["components"].items():
        assert {f"#/components/{kind}/{name}" for name in parts} <= found


def test_every_topic_and_every_record_of_the_contract_is_in_it_once() -> None:
    whole = document()
    assert {one["address"] for one in whole["channels"].values()} == {layout.name for layout in layouts_of(DEFAULT)}
    assert sorted(one.record for one in messages().values() if one.record) == sorted(RECORDS)


def test_it_says_what_the_settings_say_and_no_secret() -> None:
    whole = document(OF_A_BANK, partitions=12)
    assert whole["id"] == "urn:fraudstream:blue"
    assert [one["host"] for one in whole["servers"].values()] == ["kafka-1:9093", "kafka-2:9093"]
    assert {one["protocol"] for one in whole["servers"].values()} == {"kafka-secure"}
    assert whole["components"]["securitySchemes"] == {"login": {"type": "scramSha512"}}
    assert whole["channels"]["silent-scores"]["address"] == "eu.scores-blue"
    assert whole["channels"]["scores"]["bindings"]["kafka"]["partitions"] == 12
    assert whole["channels"]["incidents"]["bindings"]["kafka"]["partitions"] == 1
    group = whole["operations"]["workerReadsTransactions"]["bindings"]["kafka"]["groupId"]
    assert group == {"type": "string", "enum": ["desk"]}
    assert "type" not in whole["components"]["messages"]["deadLetter"]["payload"]
    assert "a secret of nobody" not in json.dumps(whole)


def test_a_login_by_token_names_its_endpoint_and_scopes() -> None:
    (login,) = document(BY_TOKEN)["components"]["securitySchemes"].values()
    assert login["type"] == "oauth2"
    assert login["flows"]["clientCredentials"]["availableScopes"] == {"kafka": "", "payments": ""}
    assert login["flows"]["clientCredentials"]["tokenUrl"].startswith("https://login.bank.example/token?")
    assert "tenant=7" not in json.dumps(login)
    changed = {"kafka_oauth_token_endpoint": "", "kafka_oauth_token_file": "/run/token"}
    of_a_file = msgspec.structs.replace(BY_TOKEN, **changed)
    assert "securitySchemes" not in document(of_a_file)["components"]


def test_the_headers_of_events_are_in_it_where_they_are_written() -> None:
    def of_events(settings: Settings) -> dict[str, int]:
        named = Conformance(document(settings)).named_headers()
        return {name: sum(one.startswith("ce_") for one in headers) for name, headers in named.items()}

    assert set(of_events(DEFAULT).values()) == {0}
    with_them = {name for name, count in of_events(EVENTS).items() if count == 6}
    assert with_them == {"score", "outcome", "predictionOutcome", "incident"}


def test_a_role_reads_and_writes_in_it_what_the_access_rules_grant() -> None:
    granted: dict[tuple[str, str], set[Role]] = {}
    for grant in grants(DEFAULT):
        for operation in grant.operations:
            for topic in grant.topics:
                granted.setdefault((topic, operation), set()).add(grant.role)
    for one in document()["channels"].values():
        assert set(one["x-readers"]) == granted[one["address"], "Read"]
        assert set(one["x-writers"]) == granted[one["address"], "Write"]


def test_every_record_has_an_example_that_is_real_valid_and_without_card_numbers() -> None:
    whole, examples = Conformance(document(EVENTS)), stored_examples()
    assert set(examples) == set(messages())
    for name, some in examples.items():
        for example in some:
            read = Read(example["headers"], None, example["payload"])
            assert [one for one in whole.problems(name, read) if not one.startswith("key")] == []
            assert redact_json(example) == example
            if record := messages()[name].record:
                assert msgspec.json.decode(msgspec.json.encode(example["payload"]), type=RECORDS[record])
                assert (
                    example["payload"].keys()
                    <= json_schema(record)["$defs"][RECORDS[record].__name__]["properties"].keys()
                )


def test_examples_have_the_headers_of_events_only_where_these_are_written() -> None:
    for settings, are_there in ((DEFAULT, False), (EVENTS, True)):
        (example,) = document(settings)["components"]["messages"]["score"]["examples"]
        assert ("ce_id" in example["headers"]) is are_there


def test_a_dead_letter_that_is_cut_is_still_as_the_document_says() -> None:
    whole = Conformance(document(msgspec.structs.replace(DEFAULT, dead_letter_values="redacted")))
    record: Any = Told(b"x" * LARGEST_OUTPUT_BYTES)
    letter = DeadLetter(record, DeadLetterCode.NOT_JSON, "no JSON").to_record(
        LetterOrigin("bank", 0, {0: 7}, "redacted")
    )
    read = Read.of(Told(letter.value, letter.key, headers=letter.headers))
    assert "error.truncated" in read.headers
    assert list(whole.problems("deadLetter", read)) == []


@given(
    st.dictionaries(st.sampled_from(["on", "y", "a", "a b", "$ref", "1", "-", "a:", "null", "ä"]), ANY_JSON, min_size=1)
)
def test_yaml_reads_as_the_same_as_json(value: dict[str, Any]) -> None:
    assert yaml.safe_load(yaml_text(value)) == value


def test_the_command_prints_the_document_in_yaml_and_in_json() -> None:
    environment = {"FRAUDSTREAM_TOPIC_PREFIX": "eu.", "FRAUDSTREAM_DEPLOYMENT": "blue"}
    expected = document(Settings(topic_prefix="eu.", deployment="blue"), 3)
    printed = [
        CliRunner().invoke(main, ["contract", "asyncapi", "--partitions", "3", *options], env=environment)
        for options in ((), ("--json",))
    ]
    assert [one.exit_code for one in printed] == [0, 0]
    assert yaml.safe_load(printed[0].stdout) == expected
    assert json.loads(printed[1].stdout) == expected


def test_the_command_prints_access_rules_with_the_settings_names() -> None:
    environment = {"FRAUDSTREAM_TOPIC_PREFIX": "eu.", "FRAUDSTREAM_DEPLOYMENT": "blue"}
    done = CliRunner().invoke(main, ["contract", "acls"], env=environment)
    assert done.stdout.rstrip("\n") == acl_script(Settings(topic_prefix="eu.", deployment="blue"))
    assert "--topic eu.scores-blue" in done.stdout
    assert "--group fraudstream-blue-explanations" in done.stdout
    as_json = json.loads(CliRunner().invoke(main, ["contract", "acls", "--json"], env=environment).stdout)
    assert {"role": "teacher", "operations": ["Write"], "topics": ["eu.predictions"], "groups": []} in as_json["grants"]


def test_the_command_compares_two_documents_and_exits_with_1_for_a_break(tmp_path: Any) -> None:
    old, new, other = (tmp_path / name for name in ("old.json", "new.json", "other.json"))
    old.write_text(json.dumps(document()))
    changed = document()
    del changed["channels"]["outcomes"]
    new.write_text(json.dumps(changed))
    other.write_text("asyncapi: 3.1.0")
    same = CliRunner().invoke(main, ["contract", "diff", str(old)])
    assert (same.exit_code, same.stdout) == (0, "0 breaks, 0 other differences\n")
    broken = CliRunner().invoke(main, ["contract", "diff", str(old), str(new), "--json"])
    assert broken.exit_code == 1
    assert json.loads(broken.stdout) == {
        "breaks": 1,
        "changes": [{"name": "outcomes", "what": "the topic is gone", "is_break": True}],
    }
    added = CliRunner().invoke(main, ["contract", "diff", str(new), str(old)])
    assert (added.exit_code, added.stdout) == (0, "differs: `outcomes`: a new topic\n0 breaks, 1 other differences\n")
    refused = CliRunner().invoke(main, ["contract", "diff", str(other)])
    assert refused.exit_code == 2
    assert "is no JSON" in refused.stderr


def test_a_document_that_cannot_be_compared_is_refused_before_and_does_not_look_like_a_break(tmp_path: Any) -> None:
    cut, older, dangling = document(), document() | {"asyncapi": "2.6.0"}, document()
    del cut["components"]
    del dangling["components"]["messages"]["label"]
    for unfit, why in (
        ({"openapi": "3.1.0", "paths": {}}, "missing required field `asyncapi`"),
        ([], "Expected `object`, got `array`"),
        (cut, "missing required field `components`"),
        (older, "`$.asyncapi`"),
        (dangling, "label is not among the components' messages"),
    ):
        file = tmp_path / "unfit.json"
        file.write_text(json.dumps(unfit))
        refused = CliRunner().invoke(main, ["contract", "diff", str(file)])
        assert (refused.exit_code, refused.exception.__class__) == (2, SystemExit)
        assert why in refused.stderr
