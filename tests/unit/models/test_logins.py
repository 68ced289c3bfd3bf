"""Logins and keys are masked in URLs and in texts that quote them, in time that is linear in the text."""

import time

import pytest

from models.logins import secrets_in, without_logins

PLANTED = "pl4nted"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"redis://user:{PLANTED}@redis:6379/0", "redis://…@redis:6379/0"),
        (f"rediss+cluster://:{PLANTED}@a:1,b:2?db=0", "rediss+cluster://…@a:1,b:2?db=…"),
        (f"redis+sentinel://user:{PLANTED}@s1:26379,s2:26379/main", "redis+sentinel://…@s1:26379,s2:26379/main"),
        (f"s3://{PLANTED}@bucket/models", "s3://…@bucket/models"),
        (f"https://store/models?sv=1&sig={PLANTED}%3D&se=2", "https://store/models?sv=…&sig=…&se=…"),
        (f"simplecache::ftp://u:{PLANTED}@host/m", "simplecache::ftp://…@host/m"),
        (f"rediss://user:{PLANTED}/with space{PLANTED}@r", "rediss://…@r"),
        (f"user:{PLANTED}@kafka:9092,kafka-2:9092", "…@kafka:9092,kafka-2:9092"),
        (f"no artifact abc in 's3://u:{PLANTED}@b/m': 404", "no artifact abc in 's3://…@b/m': 404"),
        (f"a\nftp://u:{PLANTED}@h\nb", "a\nftp://…@h\nb"),
        (f"/v1/traces?token={PLANTED}", "/v1/traces?token=…"),
        ("topic model-events: 12:00:01 w-1@host, https://docs/how-to", None),
        ("redis://redis:6379/0", None),
        ("/srv/models/with:colon", None),
    ],
)
def test_a_login_is_masked_and_the_place_stays(text: str, shown: str | None) -> None:
    assert without_logins(text) == (text if shown is None else shown)


def test_the_secrets_of_a_url_are_masked_wherever_they_stand_and_however_they_are_encoded() -> None:
    secrets = secrets_in(f"ftp://user:{PLANTED}%2Fx@host/models?token={PLANTED}%3D2&part=abc#key={PLANTED}3")
    assert secrets == {f"{PLANTED}%2Fx", f"{PLANTED}/x", f"{PLANTED}%3D2", f"{PLANTED}=2", f"{PLANTED}3"}
    assert without_logins(f"530 login as user with {PLANTED}/x failed", secrets) == "530 login as user with … failed"
    assert secrets_in(f"https://{PLANTED}@host") == {PLANTED}
    assert secrets_in("https://[host") == frozenset()
    assert secrets_in("https://a:b@host?x=abc") == frozenset(), "a short one would be found in words"


@pytest.mark.parametrize("piece", ["//", "a:", "a", "@", "?a=", ":@", "//a@", "&aa", "=", "a b:"])
@pytest.mark.parametrize("end", ["", "@", "\n@"])
def test_masking_takes_linear_time(piece: str, end: str) -> None:
    text = piece * (400_000 // len(piece)) + end
    start = time.process_time()
    without_logins(text)
    assert time.process_time() - start < 1.0
