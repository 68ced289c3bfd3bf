"""Mistakes that need no server: settings, files, the repository, and what is typed."""

from collections.abc import Mapping
from types import MappingProxyType

from stream.settings import PREFIX
from support.fleet.payments import luhn, put_model
from support.mistakes.mistake import DIGEST, Mistake, Place

HEADING = "transaction_id,card_id,merchant_id,occurred_at,amount_minor,currency,fraud"
ROW = MappingProxyType(
    {
        "transaction_id": "pay-1",
        "card_id": "card-17",
        "merchant_id": "shop-3",
        "occurred_at": "2026-01-31T12:00:00+01:00",
        "amount_minor": "1234",
        "currency": "EUR",
        "fraud": "false",
    }
)
MISSPELLED = "FRAUDSTREAM_BROKER"
TRAIN = "train payments.csv --name cards"


def rows(**changes: str) -> Mapping[str, str]:
    """Return a file of one payment, with some values changed."""
    return {"payments.csv": f"{HEADING}\n{','.join((dict(ROW) | changes).values())}\n"}


def a_card_number(place: Place) -> Mapping[str, str]:
    """Write a file whose card is a card number, which no page may show."""
    (place.folder / "payments.csv").write_text(rows(card_id=luhn("4" + "0" * 14))["payments.csv"])
    return {}


def a_file(place: Place) -> Mapping[str, str]:
    """Write a valid file, which the page need not show."""
    (place.folder / "payments.csv").write_text(rows()["payments.csv"])
    return {}


def a_damaged_model(place: Place) -> Mapping[str, str]:
    """Store a model and change a byte of it."""
    digest = put_model(str(place.folder / "models"))
    file = place.folder / "models" / digest / "model.txt"
    file.chmod(0o644)
    file.write_bytes(file.read_bytes() + b"\n")
    return {DIGEST: digest}


def a_model(place: Place) -> Mapping[str, str]:
    """Store a model."""
    return {DIGEST: put_model(str(place.folder / "models"))}


def a_file_that_is_no_folder(place: Place) -> Mapping[str, str]:
    """Write a file where the repository should be, and a valid transactions file."""
    (place.folder / "models").write_text("")
    return a_file(place)


def a_key(place: Place) -> Mapping[str, str]:
    """Write a file where a private key should be, which the page need not show."""
    (place.folder / "ann.pem").write_text("")
    return {}


def a_certificate_file(place: Place) -> Mapping[str, str]:
    """Write a file that holds no certificate."""
    (place.folder / "authority.pem").write_text("no certificate\n")
    return {}


SETTINGS = (
    Mistake(
        title="The broker does not answer",
        command="topics apply --partitions 4",
        settings={"BROKERS": "127.0.0.1:9092"},
    ),
    Mistake(title="The broker has no port", command="worker", settings={"BROKERS": "kafka-1"}),
    Mistake(
        title="A setting is misspelled",
        command="topics apply --partitions 4",
        settings={MISSPELLED.removeprefix(PREFIX): "kafka-1:9092"},
        note="The misspelled variable has no effect, so the command goes to the default broker.",
    ),
    Mistake(title="A length of time in an unknown unit", command="worker", settings={"DRAIN_SECONDS": "2 fortnights"}),
    Mistake(
        title="A login without a password",
        command="topics apply --partitions 4",
        settings={"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"},
    ),
    Mistake(
        title="A password, but no protocol that sends it",
        command="topics apply --partitions 4",
        settings={"KAFKA_SASL_PASSWORD": "secret"},
    ),
    Mistake(
        title="A login by token, but no source of tokens",
        command="topics apply --partitions 4",
        settings={"KAFKA_SECURITY_PROTOCOL": "SASL_SSL", "KAFKA_SASL_MECHANISM": "OAUTHBEARER"},
    ),
    Mistake(
        title="The authority's file does not exist",
        command="topics apply --partitions 4",
        settings={"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CAFILE": "missing.pem"},
    ),
    Mistake(
        title="The authority's file holds no certificate",
        command="topics apply --partitions 4",
        settings={"KAFKA_SECURITY_PROTOCOL": "SSL", "KAFKA_SSL_CAFILE": "authority.pem"},
        prepare=a_certificate_file,
    ),
    Mistake(
        title="A line of the file of keys was changed",
        command="worker",
        settings={"COMMAND_KEYS": "keys.toml"},
        files={
            "keys.toml": '"21fe31dfa154a261" = { public = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=", '
            'person = "ann", role = "operator" }\n'
            '"8a88e3dd7409f195" = { public = "/VHNjhdR2WOYS7gPxUd0sCY5cXwtGnyfIKyjvF7zOhA=", '
            'person = "bob", role = "boss" }\n'
        },
    ),
    Mistake(title="Two persons, but no keys", command="worker", settings={"TWO_PERSONS": "true"}),
    Mistake(
        title="The extra for signatures is not installed",
        command="model rollback",
        settings={"SIGNING_KEY": "ann.pem"},
        prepare=a_key,
        hidden=("cryptography",),
    ),
    Mistake(title="A Redis URL of another scheme", command="worker", settings={"REDIS_URL": "http://redis:6379/0"}),
    Mistake(
        title="A feature set that cannot be imported", command="features list", settings={"FEATURES": "our_features"}
    ),
    Mistake(
        title="A feature set without FEATURES",
        command="features list",
        settings={"FEATURES": "our_features"},
        files={"our_features.py": "ROWS = ()\n"},
    ),
)

FILES = (
    Mistake(title="A file that does not exist", command="publish payment.csv"),
    Mistake(
        title="Columns with other names",
        command=TRAIN,
        files={"payments.csv": "Payment;Card;Shop;Local time;Amount;Currency\nP1;17;3;31.01.2026 12:00;12.34;EUR\n"},
    ),
    Mistake(title="Times in the local format", command=TRAIN, files=rows(occurred_at="31.01.2026 12:00")),
    Mistake(title="Times without a zone", command=TRAIN, files=rows(occurred_at="2026-01-31 12:00:00")),
    Mistake(title="Amounts with decimals", command=TRAIN, files=rows(amount_minor="12.34")),
    Mistake(title="Negative amounts", command=TRAIN, files=rows(amount_minor="-1234")),
    Mistake(title="A currency by its sign", command=TRAIN, files=rows(currency="€")),
    Mistake(
        title="A card number as card_id",
        command=TRAIN,
        prepare=a_card_number,
        note="The number itself is never printed.",
    ),
    Mistake(
        title="No labels to train on",
        command=TRAIN,
        files={"payments.csv": f"{HEADING.removesuffix(',fraud')}\n{','.join(list(ROW.values())[:-1])}\n"},
    ),
    Mistake(title="Too few payments to train on", command=TRAIN, files=rows()),
    Mistake(title="A file with a heading alone", command=TRAIN, files={"payments.csv": f"{HEADING}\n"}),
    Mistake(
        title="A CSV file named .parquet",
        command="train payments.parquet --name cards",
        files={"payments.parquet": rows()["payments.csv"]},
    ),
    Mistake(
        title="A spreadsheet",
        command="train payments.xlsx --name cards",
        files={"payments.xlsx": rows()["payments.csv"]},
    ),
    Mistake(
        title="The extra for training is not installed",
        command=TRAIN,
        prepare=a_file,
        hidden=("duckdb", "sklearn"),
    ),
)

MODELS = (
    Mistake(title="A model by its name", command="model promote cards"),
    Mistake(title="The repository does not exist", command="model show 0123abcd", settings={"MODELS": "model"}),
    Mistake(title="A digest that no model has", command="model show 0123abcd", prepare=a_model),
    Mistake(
        title="A repository of a file system that is not installed",
        command="model list",
        settings={"MODELS": "s3://models"},
    ),
    Mistake(title="A repository of an unknown file system", command="model list", settings={"MODELS": "s4://models"}),
    Mistake(title="The repository is a file", command=TRAIN, prepare=a_file_that_is_no_folder),
    Mistake(
        title="A model that was changed after it was stored",
        command=f"model show {DIGEST[:8]}",
        prepare=a_damaged_model,
    ),
)

USAGE = (
    Mistake(title="A command that does not exist", command="publsh payments.csv"),
    Mistake(title="An option is missing", command="topics apply"),
    Mistake(title="An option without a number", command="topics apply --partitions many"),
    Mistake(
        title="Shares above 1",
        command=f"{TRAIN} --review-share 5 --decline-share 1",
        prepare=a_file,
    ),
    Mistake(title="Neither a file nor the topic", command="score --model 0123abcd --out scores.csv"),
    Mistake(
        title="An output file of an unknown format",
        command="score payments.csv --model 0123abcd --out scores.xlsx",
        prepare=a_file,
    ),
)
