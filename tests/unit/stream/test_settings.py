import re

import msgspec
import pytest

from stream.errors import SettingsError
from stream.settings import PREFIX, Settings, near_misses, read_settings

WITH_SECRETS = {
    "redis_url": "rediss://user:secret@redis:6380/1",
    "kafka_security_protocol": "SASL_SSL",
    "kafka_sasl_username": "fraud",
    "kafka_sasl_password": "secret",
    "incident_webhook": "https://pager/hook?key=secret",
    "incident_secret": f"whsec_{'A' * 32}",
}

OAUTH = {
    "kafka_security_protocol": "SASL_SSL",
    "kafka_sasl_mechanism": "OAUTHBEARER",
    "kafka_oauth_token_endpoint": "https://idp/token?key=secret",
    "kafka_oauth_client_id": "worker",
    "kafka_oauth_client_secret": "secret",
}
TOKEN_FILE = {
    "kafka_security_protocol": "SASL_SSL",
    "kafka_sasl_mechanism": "OAUTHBEARER",
    "kafka_oauth_token_file": "/run/token",
}


def read(**variables: str) -> Settings:
    return read_settings({PREFIX + name.upper(): text for name, text in variables.items()})


def refusal(**variables: str) -> str:
    with pytest.raises(SettingsError, match=PREFIX) as refused:
        read(**variables)
    return str(refused.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("20", 20.0), ("0.5", 0.5), ("500ms", 0.5), ("500 ms", 0.5), (" 5 min ", 300.0), ("1h", 3600.0), ("1 d", 86400.0)],
)
def test_durations_may_have_a_unit(text: str, seconds: float) -> None:
    assert read(drain_seconds=text).drain_seconds == seconds


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(
            ("brokers", text)
            for text in ("", "kafka", "kafka:", ":9092", "a:1,", "a:1, b:2", "kafka:port", "a:1\n", "::1:9092")
        ),
        *(("redis_url", text) for text in ("", "redis", "http://redis", "redis://", "localhost:6379")),
        *(("http", text) for text in ("", "6066", "127.0.0.1", "127.0.0.1:")),
        *((name, text) for name in ("deployment", "group") for text in ("a b", "a{b}", "x" * 101, "a\n")),
        *((name, "x" * 65) for name in ("deployment", "worker_id", "group_instance")),
        *(("brokers", text) for text in ("a:65536", "a:1,b:99999")),
        ("http", ":99999"),
        ("deployment", ""),
        *(("topic_prefix", text) for text in ("a/", "a b", "ü")),
        *(("deadline_ms", text) for text in ("", "0", "-1", "1.5", "soon", "100 ms")),
        *(
            (name, text)
            for name in ("session_timeout", "drain_seconds", "commit_interval")
            for text in ("", "0", "-1", "2 d", "5 minutes", "nan", "inf")
        ),
        *(("future_skew", text) for text in ("", "-1", "nan", "2 d")),
        *(("watch", text) for text in ("", "-1", "31 d", "soon")),
        *(("shadow_queue", text) for text in ("0", "-1", "many")),
        *(("shadow_memory_mb", text) for text in ("255", "1 GB")),
        *(("poll_records", text) for text in ("0", "10001", "many")),
        *(("redis_down", text) for text in ("", "WAIT", "fail")),
        ("score_features", "some"),
        *(("log_level", text) for text in ("", "trace", "10")),
        *(("log_format", text) for text in ("", "JSON", "logfmt")),
        *(("compression", text) for text in ("", "ZSTD", "brotli", "gzip:1")),
        *(("kafka_idempotence", text) for text in ("", "maybe")),
        ("kafka_security_protocol", "TLS"),
        ("kafka_sasl_mechanism", "NTLM"),
        ("kafka_oauth_token_endpoint", "ftp://idp"),
        ("kafka_oauth_aws_region", "eu central"),
        *(("kafka_oauth_extensions", text) for text in ("lkc", "a=b,", "a_b=c", "a=b c")),
        ("models", ""),
        ("worker_id", "a b"),
        ("group_instance", "a b"),
    ],
)
def test_an_invalid_value_is_rejected_with_the_variables_name_and_its_value(name: str, text: str) -> None:
    message = refusal(**{name: text})
    assert message.startswith(f"{PREFIX}{name.upper()}: expected ")
    assert f"got {text!r} from the environment" in message
    assert not set(message.replace(repr(text), "")) & set("^$\\{}[]|*`"), "no pattern and no type of Python"
    assert len(message.splitlines()) == 1


def test_all_problems_are_reported_at_once_and_a_choice_lists_its_options() -> None:
    message = refusal(brokers="", http="x", deadline_ms="x", redis_down="x", kafka_security_protocol="SASL_SSL")
    assert [line.split(":")[0].removeprefix(PREFIX) for line in message.splitlines()] == [
        "BROKERS",
        "HTTP",
        "DEADLINE_MS",
        "REDIS_DOWN",
        "KAFKA_SASL_USERNAME",
        "KAFKA_SASL_PASSWORD",
    ]
    assert "expected one of degrade, wait, got 'x' from the environment; unset, it is wait" in message


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        ("FRAUDSTREAM_BROKER", "FRAUDSTREAM_BROKERS"),
        ("FRAUDSTREAM_KAFKA_BROKERS", "FRAUDSTREAM_BROKERS"),
        ("FRAUDSTREAM_MODEL", "FRAUDSTREAM_MODELS"),
        ("FRAUDSTREAM_SASL_PASSWORD", "FRAUDSTREAM_KAFKA_SASL_PASSWORD"),
        ("FRAUDSTREAM_REDIS", "FRAUDSTREAM_REDIS_CAFILE or FRAUDSTREAM_REDIS_DOWN or FRAUDSTREAM_REDIS_URL"),
        ("fraudstream_brokers", "FRAUDSTREAM_BROKERS"),
    ],
)
def test_a_variable_with_nearly_the_name_of_a_setting_is_named_without_its_value(variable: str, meant: str) -> None:
    (line,) = near_misses({variable: "s3cret", "FRAUDSTREAM_REDIS_URL": "redis://redis"})
    assert line == f"{variable} is no setting and has no effect; did you mean {meant}?"


def test_settings_and_variables_of_other_programs_are_no_near_misses() -> None:
    variables = (
        *(PREFIX + field.name.upper() for field in msgspec.structs.fields(Settings)),
        *(f"FRAUDSTREAM_TEST_{name}" for name in ("CLUSTER", "REDIS", "SIZE")),
        *(f"FRAUDSTREAM_{name}" for name in ("SERVICE_HOST", "SERVICE_PORT", "PORT", "PORT_6066_TCP", "HOME", "")),
        *(f"FRAUDSTREAM_REDIS_{name}" for name in ("SERVICE_HOST", "SERVICE_PORT", "PORT_6379_TCP_ADDR")),
        "BROKERS",
        "FRAUDSTREAM",
    )
    assert near_misses(dict.fromkeys(variables, "x")) == ()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (
            {"kafka_ssl_cafile": "a.pem"},
            "KAFKA_SSL_CAFILE: is set, but has no effect with KAFKA_SECURITY_PROTOCOL=P",
        ),
        ({"kafka_sasl_password": "p"}, "KAFKA_SASL_PASSWORD: is set, but has no effect with KAFKA_SECURITY_PROTOCOL=P"),
        (
            {"kafka_security_protocol": "SSL", "kafka_ssl_keyfile": "a.key"},
            "KAFKA_SSL_KEYFILE: needs FRAUDSTREAM_KAFKA_SSL_CERTFILE as well",
        ),
        ({"redis_cafile": "a.pem"}, "REDIS_CAFILE: is set, but has no effect with a FRAUDSTREAM_REDIS_URL of redis://"),
        *(
            ({"incident_webhook": url}, "INCIDENT_WEBHOOK: expected a host and, if there is one, a port from 1 to")
            for url in (
                "https://h:99999/",
                "https://h:port",
                "https://h:0/x",
                "https://:443/",
                "https://[r/",
                "https://u@",
            )
        ),
        (
            {"incident_secret": f"whsec_{'A' * 32}"},
            "INCIDENT_SECRET: is set, but has no effect without FRAUDSTREAM_INCIDENT_WEBHOOK",
        ),
        (
            {"incident_secret_file": "key"},
            "INCIDENT_SECRET_FILE: is set, but has no effect without FRAUDSTREAM_INCIDENT_WEBHOOK",
        ),
        (
            {
                "incident_webhook": "https://h/",
                "incident_secret": f"whsec_{'A' * 32}",
                "incident_secret_file": "key",
            },
            "INCIDENT_SECRET_FILE: set this or FRAUDSTREAM_INCIDENT_SECRET, not both",
        ),
        *(
            (OAUTH | changes, said)
            for changes, said in (
                ({"kafka_oauth_client_id": ""}, "KAFKA_OAUTH_CLIENT_ID: needed with a token endpoint, but is empty"),
                (
                    {"kafka_oauth_client_secret": ""},
                    "KAFKA_OAUTH_CLIENT_SECRET: a token endpoint needs this or FRAUDSTREAM_KAFKA_OAUTH_CLIENT_",
                ),
                ({"kafka_oauth_client_secret_file": "f"}, "KAFKA_OAUTH_CLIENT_SECRET: a token endpoint needs this or"),
                ({"kafka_oauth_token_endpoint": "https://:1/"}, "KAFKA_OAUTH_TOKEN_ENDPOINT: expected a host and, if"),
                (
                    {"kafka_oauth_token_endpoint": "https://ann:hunter22@i/token"},
                    "KAFKA_OAUTH_TOKEN_ENDPOINT: holds a login; give it as FRAUDSTREAM_KAFKA_OAUTH_CLIENT_ID",
                ),
                *(
                    ({"kafka_oauth_extensions": text}, "KAFKA_OAUTH_EXTENSIONS: none may be called auth")
                    for text in ("auth=x", "a=1,a=2")
                ),
                (
                    {"kafka_oauth_token_file": "f"},
                    "KAFKA_SASL_MECHANISM: OAUTHBEARER needs one of FRAUDSTREAM_KAFKA_OAUTH_TOKEN_ENDPOINT, ",
                ),
                ({"kafka_sasl_username": "ann"}, "KAFKA_SASL_USERNAME: is set, but has no effect with KAFKA_SASL_MECH"),
            )
        ),
        (
            {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_mechanism": "OAUTHBEARER"},
            "KAFKA_SASL_MECHANISM: OAUTHBEARER needs one of FRAUDSTREAM_KAFKA_OAUTH_TOKEN_ENDPOINT, ",
        ),
        (
            TOKEN_FILE | {"kafka_oauth_scope": "s"},
            "KAFKA_OAUTH_SCOPE: is set, but has no effect without FRAUDSTREAM_KAFKA_OAUTH_TOKEN_ENDPOINT",
        ),
        (
            {"kafka_oauth_extensions": "a=b"},
            "KAFKA_OAUTH_EXTENSIONS: is set, but has no effect with KAFKA_SECURITY_PROTOCOL=PLAINTEXT and KAFKA_SASL_",
        ),
        *(
            ({"redis_url": url, "redis_password_file": "f"}, "REDIS_PASSWORD_FILE: set this or a password in")
            for url in ("redis://u:p@r", "redis://r?password=p")
        ),
        ({"group_instance": "a", "worker_id": "b"}, "WORKER_ID: must be that of FRAUDSTREAM_GROUP_INSTANCE, 'a', or"),
        ({"redis_url": "redis://[r"}, "REDIS_URL: Invalid IPv6 URL"),
        ({"redis_url": "redis://u:p/w@r"}, "REDIS_URL: write / ? and # in a user or password as %2F, %3F and %23"),
        ({"redis_url": "redis://r:port"}, "REDIS_URL: Port could not be cast to integer value as 'port'"),
        (
            {"redis_url": "redis+cluster://r:1,"},
            "REDIS_URL: a server in the URL has no host name; use redis+cluster://",
        ),
        ({"redis_url": "redis+sentinel://r"}, "REDIS_URL: the URL has no name of a master after the sentinels"),
        ({"redis_url": "redis+cluster://r/2"}, "REDIS_URL: a Redis Cluster has no databases, but the URL names '2'"),
        ({"redis_url": "redis://r?ssl_ca_certs=a.pem"}, "REDIS_URL: has TLS options, but begins with redis://"),
        (
            {"redis_url": "redis+cluster://r", "redis_cafile": "a.pem"},
            "REDIS_CAFILE: is set, but has no effect with a FRAUDSTREAM_REDIS_URL of redis+cluster://",
        ),
        (
            {"redis_url": "rediss://r?ssl_cert_reqs=none"},
            "REDIS_URL: ssl_cert_reqs would disable verification",
        ),
    ],
)
def test_settings_that_are_malformed_have_no_effect_or_disable_protection_are_rejected(
    variables: dict[str, str], said: str
) -> None:
    message = refusal(**variables)
    assert message.startswith(PREFIX + said)
    assert len(message.splitlines()) == 1


def test_the_ca_file_of_redis_is_added_to_its_url() -> None:
    url = read(redis_url="rediss://r:1/0?db=2", redis_cafile="/a b/ca.pem").redis_url
    assert url == "rediss://r:1/0?db=2&ssl_ca_certs=/a%20b/ca.pem"
    url = read(redis_url="rediss+sentinel://r:1,s:2/name/0", redis_cafile="ca.pem").redis_url
    assert url == "rediss+sentinel://r:1,s:2/name/0?ssl_ca_certs=ca.pem"
    url = read(redis_url="rediss+cluster://r:1,s:2", redis_cafile="ca.pem").redis_url
    assert url == "rediss+cluster://r:1,s:2?ssl_ca_certs=ca.pem"


def test_the_password_file_of_redis_is_added_to_its_url_as_well() -> None:
    files = {"redis_cafile": "ca.pem", "redis_password_file": "/run/a b"}
    url = read(redis_url="rediss://fraud@r:1/0", **files).redis_url
    assert url == "rediss://fraud@r:1/0?ssl_ca_certs=ca.pem&password_file=/run/a%20b"
    assert "/run/a b" in read(**files, redis_url="rediss://r").shown().values()


@pytest.mark.parametrize(
    "variables",
    [
        OAUTH,
        TOKEN_FILE,
        {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_mechanism": "GSSAPI"},
        {
            "kafka_security_protocol": "SASL_SSL",
            "kafka_sasl_mechanism": "OAUTHBEARER",
            "kafka_oauth_aws_region": "eu-central-1",
        },
    ],
)
def test_logins_without_a_password_need_none_and_no_secret_of_theirs_is_shown(variables: dict[str, str]) -> None:
    settings = read(**variables)
    assert "secret" not in re.sub(r"_secret(_file)?=", "", repr(settings))
    assert "secret" not in " ".join(settings.shown().values())


def test_no_password_is_shown_in_representations_or_error_messages() -> None:
    settings = read(**WITH_SECRETS)
    shown = [
        repr(settings),
        str(settings),
        f"{settings}",
        refusal(redis_url="http://user:secret@redis", kafka_security_protocol="x"),
    ]
    shown.append(refusal(redis_url="rediss://user:sec/ret secret@redis"))
    shown.append(repr(read(redis_url="rediss://redis?password=secret&db=1")))
    shown.append(repr(read(redis_url="redis+sentinel://u:secret@s:1,t:2/name?sentinel_password=secret&db=1")))
    assert not [text for text in shown if "secret" in re.sub(r"_secret(_file)?=", "", text)]


PLANTED = "pl4nted"
WITH_A_LOGIN = (
    f"rediss://user:{PLANTED}@redis:6380/0",
    f"redis+cluster://user:{PLANTED}@a:1,b:2?password={PLANTED}",
    f"redis+sentinel://user:{PLANTED}@s:26379/main?username=u&password={PLANTED}",
    f"redis://user:{PLANTED}/with?slash#{PLANTED}@redis:6379",
    f"redis://:{PLANTED}@redis:port",
    f"unix://user:{PLANTED}@/run/redis.sock",
    f"https://store/models?sig={PLANTED}&token={PLANTED}",
    f"s3://{PLANTED}@bucket/models",
    f"user:{PLANTED}@kafka:9092",
    f"user:{PLANTED}@kafka:port",
    f"{{'url': 'ftp://user:{PLANTED}@host'}}",
)


@pytest.mark.parametrize("text", WITH_A_LOGIN)
def test_no_login_or_key_is_shown_whichever_setting_holds_it(text: str) -> None:
    for field in msgspec.structs.fields(Settings):
        try:
            shown = repr(read(**{field.name: text}))
        except SettingsError as error:
            shown = str(error)
        assert PLANTED not in shown, field.name


def test_the_secrets_of_the_settings_are_known_so_that_texts_can_be_cleaned_of_them() -> None:
    settings = read(
        redis_url="rediss://user:redis%2Fsecret@redis?ssl_ca_certs=/etc/ca.pem&password=another",
        models="https://user:store-secret@h/m?sig=sig-secret",
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_username="user",
        kafka_sasl_password="sasl-secret",  # noqa: S106 - a test's
    )
    known = {"redis%2Fsecret", "redis/secret", "another", "store-secret", "sig-secret", "sasl-secret"}
    assert settings.secrets() == known
    assert Settings().secrets() == frozenset()


@pytest.mark.parametrize("url", ["pager", "ftp://pager/", "https:///hook", "https://pager /", "https://pager/ho ok"])
def test_what_is_no_url_of_a_webhook_is_refused_without_quoting_what_may_be_a_key(url: str) -> None:
    message = refusal(incident_webhook=url)
    assert message.startswith(f"{PREFIX}INCIDENT_WEBHOOK: expected a URL that begins with https:// or http://")
    assert "hook" not in message.replace("INCIDENT_WEBHOOK", "")


@pytest.mark.parametrize("text", ["secret-key", "whsec_short", f"whsec_{'A' * 31}!", f"whsec_{'A' * 120}", "A" * 44])
def test_a_secret_of_another_form_is_refused_without_quoting_it(text: str) -> None:
    message = refusal(incident_webhook="https://h/", incident_secret=text)
    assert message.startswith(f"{PREFIX}INCIDENT_SECRET: expected whsec_ and the base64 of 24 to 64 bytes")
    assert text not in message


def test_a_webhooks_secret_and_what_stands_behind_its_host_are_secrets() -> None:
    settings = read(incident_webhook="https://u:pass-word@h:8443/hook-key?a=b", incident_secret=f"whsec_{'A' * 32}")
    assert settings.secrets() >= {f"whsec_{'A' * 32}", "hook-key?a=b", "pass-word"}
    assert settings.shown()[f"{PREFIX}INCIDENT_WEBHOOK"] == "https://h:8443/…"
    assert not [one for one in settings.secrets() if one in repr(settings)]
