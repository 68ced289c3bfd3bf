"""Tokens of a provider, a file and AWS: what is taken, and each thing that can be wrong with it in one line."""

import json
import re
import sys
import threading
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterator
from math import inf
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from stream.clock import now_ms
from stream.kafka import token_sources
from stream.kafka.token_sources import AwsSigner, TokenEndpoint, TokenFile, claims_of, keeper_of, login_trouble
from stream.kafka.tokens import Token
from stream.settings import Settings
from support.oauth.provider import CLIENTS, Provider, running_provider

SECRET = CLIENTS["worker"]


@pytest.fixture(scope="module")
def _provider() -> Iterator[Provider]:
    with running_provider() as provider:
        yield provider


@pytest.fixture
def provider(_provider: Provider) -> Provider:
    """Return the provider without faults, and with nothing asked yet."""
    _provider.fault, _provider.lifetime_s, _provider.extra, _provider.away = None, 30.0, {}, False
    _provider.forms.clear()
    return _provider


def endpoint(provider: Provider, **changes: str) -> TokenEndpoint:
    given: dict[str, str] = {"url": f"{provider.endpoint}?tenant=t", "client_id": "worker", "secret": SECRET}
    return TokenEndpoint(**given | changes)


def problem(source: TokenEndpoint | TokenFile | AwsSigner) -> str:
    """Return why there is no token: one line, without a secret."""
    outcome = source.fetch()
    assert isinstance(outcome, str)
    assert "\n" not in outcome
    assert SECRET not in f"{outcome}{source!r}{source.name}"
    return outcome


def test_a_token_of_client_credentials_lasts_as_long_as_the_provider_says(provider: Provider) -> None:
    found = endpoint(provider, scope="read write", audience="kafka").fetch()
    assert found == Token(provider.issued[-1], 30.0, f"issuer '{provider.issuer}', audience 'kafka', subject 'worker'")
    assert provider.forms == [{"grant_type": ["client_credentials"], "scope": ["read write"], "audience": ["kafka"]}]
    endpoint(provider).fetch()
    assert provider.forms[-1] == {"grant_type": ["client_credentials"]}


def test_a_secret_of_a_file_is_read_for_each_token(provider: Provider, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    source = endpoint(provider, secret="", secret_file=str(file))
    assert problem(source) == f"{file} cannot be read: No such file or directory"
    file.write_text("")
    assert (
        problem(source)
        == f"{file} is empty: write the client secret there (FRAUDSTREAM_KAFKA_OAUTH_CLIENT_SECRET_FILE)"
    )
    file.write_text("not this one")
    assert problem(source).startswith("it answered 401 invalid_client: check FRAUDSTREAM_KAFKA_OAUTH_CLIENT_ID")
    file.write_text(f"{SECRET}\n")
    assert isinstance(source.fetch(), Token)


def test_special_characters_of_a_login_arrive(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CLIENTS, "a:b c", "p:% ä")
    assert isinstance(endpoint(provider, client_id="a:b c", secret="p:% ä").fetch(), Token)  # noqa: S106 - a test's


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ((500, b""), "it answered 500, but not with JSON: check FRAUDSTREAM_KAFKA_OAUTH_TOKEN_ENDPOINT"),
        (
            (200, b"<html>log in</html>"),
            "it answered 200, but not with JSON: check FRAUDSTREAM_KAFKA_OAUTH_TOKEN_ENDPOINT",
        ),
        ((200, b"\xff\xfe"), "it answered 200, but not with JSON: check FRAUDSTREAM_KAFKA_OAUTH_TOKEN_ENDPOINT"),
        ((302, b"[]"), "it answered 302, but not with JSON: check FRAUDSTREAM_KAFKA_OAUTH_TOKEN_ENDPOINT"),
        ((400, b'{"error": "invalid_scope"}'), "it answered 400 invalid_scope: check FRAUDSTREAM_KAFKA_OAUTH_SCOPE"),
        ((400, b'{"error": "no worker-client-secret"}'), "it answered 400"),
        ((503, b'{"error": "temporarily_unavailable"}'), "it answered 503 temporarily_unavailable"),
        ((200, b"{}"), "it answered 200 without an access_token that can be used"),
        ((200, b'{"access_token": "a\\u0001b"}'), "it answered 200 without an access_token that can be used"),
        ((200, b'{"access_token": 7}'), "it answered 200 without an access_token that can be used"),
        ((200, b"[" * 100_000), "it answered 200, but not with JSON: check FRAUDSTREAM_KAFKA_OAUTH_TOKEN_ENDPOINT"),
        ((200, b'{"access_token": "a", "expires_in": 1%s}' % (b"0" * 400)), None),
        ((200, b'{"access_token": "a", "expires_in": 0}'), "it gave a token that has expired already"),
        ((200, b'{"access_token": "a", "expires_in": "-5"}'), None),
    ],
)
def test_each_unkind_answer_of_a_provider_is_told_in_one_line(
    provider: Provider, fault: tuple[int, bytes], said: str | None
) -> None:
    provider.fault = fault
    source = endpoint(provider)
    if said is None:
        assert source.fetch() == Token("a", inf)
    else:
        assert problem(source) == said


def test_without_a_lifetime_the_token_tells_it_whatever_the_clocks_say(provider: Provider) -> None:
    provider.extra = {"expires_in": None, "access_token": provider.token("worker", at=now_ms() / 1000 - 900)}
    found = endpoint(provider).fetch()
    assert isinstance(found, Token)
    assert found.lifetime_s == 30.0
    assert endpoint(provider).pause_s(inf, 0.0) == 225.0


def test_an_endpoint_that_is_away_or_closes_the_connection_is_told(provider: Provider) -> None:
    assert problem(endpoint(provider, url="http://127.0.0.1:1/token")) == "it cannot be reached: Connection refused"
    provider.away = True
    assert problem(endpoint(provider)) == "it closed the connection without an answer"
    assert endpoint(provider).name == f"the token endpoint {provider.endpoint}"


def test_of_the_files_and_the_url_the_one_that_is_wrong_is_named(provider: Provider, tmp_path: Path) -> None:
    provider.away = False
    secret, cafile = tmp_path / "secret", tmp_path / "authority.pem"
    secret.write_text(SECRET)
    cafile.write_text("no certificate")
    for file, why in (("/no/file", "cannot be read: No such file or directory"), (str(cafile), "holds no PEM")):
        assert problem(endpoint(provider, secret="", secret_file=str(secret), cafile=file)).startswith(f"{file} {why}")
    for url in ("http://a..b/token", f"http://{'a' * 70}.example/token"):
        assert problem(endpoint(provider, url=url)).startswith(
            "its host or port is none: check FRAUDSTREAM_KAFKA_OAUTH"
        )
    plain = problem(endpoint(provider, url=provider.endpoint.replace("http:", "https:")))
    assert plain.startswith("the TLS handshake failed (")


# --- files


def test_a_token_file_is_read_again_and_every_state_of_it_is_told(provider: Provider, tmp_path: Path) -> None:
    file = tmp_path / "token"
    source = TokenFile(str(file))
    assert problem(source) == "it cannot be read: No such file or directory; check FRAUDSTREAM_KAFKA_OAUTH_TOKEN_FILE"
    file.write_text("")
    assert problem(source) == "it is empty"
    file.write_text("two tokens")
    assert problem(source) == "it holds something else than one token"
    file.write_bytes(b"\xff")
    assert problem(source).startswith("it cannot be read: UnicodeDecodeError")
    file.write_text(provider.token("worker", at=now_ms() / 1000 - 100))
    assert re.fullmatch(
        r"its token expired 7\d s ago by this machine's clock: check that, and what renews it", problem(source)
    )
    file.write_text(provider.token("worker") + "\n")
    found = source.fetch()
    assert isinstance(found, Token)
    assert found.value == provider.issued[-1]
    assert 28 < found.lifetime_s <= 30
    file.write_text("opaque")
    assert source.fetch() == Token("opaque", inf)
    assert [source.pause_s(lasts, 0.5) for lasts in (30.0, 1.0, 3600.0, inf)] == [0.6, 0.2, 5.0, 5.0]


def test_a_projected_volume_that_swaps_its_link_is_read_whole(provider: Provider, tmp_path: Path) -> None:
    """As the kubelet does: a new folder, and a link to it that replaces the old one at once."""
    for number in range(2):
        (folder := tmp_path / f"..{number}").mkdir()
        (folder / "token").write_text(provider.token("worker"))
    current = tmp_path / "..data"
    current.symlink_to("..0")
    source = TokenFile(str(current / "token"))
    for number in (0, 1):
        (tmp_path / "..new").symlink_to(f"..{number}")
        (tmp_path / "..new").replace(current)
        found = source.fetch()
        assert isinstance(found, Token)
        assert found.value == (tmp_path / f"..{number}" / "token").read_text()


@pytest.mark.parametrize(
    "token",
    [
        f"a.{urlsafe_b64encode(b'[' * 99_999).decode()}.c",
        "",
        "a.b",
        "a.b.c",
        "a.e30=.c",
        "a.W10.c",
        "ä.ä.ä",
        f"a.{'e' * 7}.c",
    ],
)
def test_what_is_no_json_web_token_claims_nothing(token: str) -> None:
    assert claims_of(token) == {}


def test_a_token_of_which_only_a_part_is_written_yet_is_not_taken(provider: Provider, tmp_path: Path) -> None:
    file, token = tmp_path / "token", provider.token("worker")
    file.write_text(token[: len(token) // 2])
    writer = threading.Timer(0.05, file.write_text, [token])
    writer.start()
    found = TokenFile(str(file)).fetch()
    writer.join()
    assert isinstance(found, Token)
    assert found.value == token


# --- AWS


def test_a_token_for_msk_has_the_form_that_aws_documents(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aws_msk_iam_sasl_signer")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "aws-secret-key")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "session")
    found = AwsSigner("eu-central-1").fetch()
    assert isinstance(found, Token)
    assert 890 < found.lifetime_s <= 900
    url = urlsplit(urlsafe_b64decode(found.value + "=" * (-len(found.value) % 4)).decode())
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert (url.scheme, url.netloc) == ("https", "kafka.eu-central-1.amazonaws.com")
    assert query["Action"] == "kafka-cluster:Connect"
    assert query["X-Amz-Algorithm"] == "AWS4-HMAC-SHA256"
    assert query["X-Amz-Expires"] == "900"
    assert query["X-Amz-Credential"].endswith("/eu-central-1/kafka-cluster/aws4_request")
    assert query["X-Amz-Security-Token"] == "session"
    assert "aws-secret-key" not in url.query


def test_without_the_extra_or_credentials_it_is_said_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    source = AwsSigner("eu-central-1")
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer", None)
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer.MSKAuthTokenProvider", None)
    assert problem(source).startswith("it is not installed: install the extra fraudstream[aws]: pip install 'aws-msk-")

    class BotoCoreError(Exception):
        pass

    def failing(error: Exception) -> Any:
        signer: Any = ModuleType("signer")

        def generate_auth_token(_region: str) -> None:
            raise error

        signer.generate_auth_token = generate_auth_token
        core: Any = ModuleType("core")
        core.BotoCoreError, core.ClientError = BotoCoreError, ClientError
        return lambda name: core if name == "botocore.exceptions" else signer

    class ClientError(Exception):
        """As botocore's, of another tree: AWS has answered, with a refusal."""

    for error, said in (
        (ClientError("AccessDenied when calling\nAssumeRole"), "AccessDenied when calling AssumeRole"),
        (
            AttributeError(),
            "it finds no AWS credentials, in the environment, files, or the role of the machine or the pod",
        ),
        (BotoCoreError("Could not\nconnect"), "Could not connect"),
    ):
        monkeypatch.setattr(token_sources, "import_module", failing(error))
        assert problem(source) == said


# --- by settings


def test_clients_of_a_process_share_a_keeper_and_others_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(token_sources, "_KEEPERS", {})
    common: dict[str, Any] = {"kafka_security_protocol": "SASL_SSL", "kafka_sasl_mechanism": "OAUTHBEARER"}
    by_file = Settings(**common, kafka_oauth_token_file="/run/token", kafka_oauth_extensions="a=b,c=d=e")  # noqa: S106 - a path
    assert keeper_of(by_file) is keeper_of(by_file)
    assert keeper_of(by_file).extensions() == {"a": "b", "c": "d=e"}
    by_region = Settings(**common, kafka_oauth_aws_region="eu-central-1")
    assert keeper_of(by_region) is not keeper_of(by_file)
    assert login_trouble(by_file) is None
    assert login_trouble(Settings()) is None
    secret = Settings(**common, kafka_oauth_token_endpoint="https://i/t", kafka_oauth_client_secret=SECRET)  # noqa: S106
    assert SECRET in secret.secrets()
    assert SECRET not in repr(secret) + repr(keeper_of(secret)) + json.dumps(secret.shown())
