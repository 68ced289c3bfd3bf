"""The clients in Java and Go pass the cases, where their tools are installed."""

import pytest

from support.example_clients import NoToolchain, run_conformance


@pytest.mark.parametrize("language", ["java", "go"])
def test_the_client_of_another_language_passes_every_case(language: str) -> None:
    try:
        run_conformance(language)
    except NoToolchain as why:
        pytest.skip(str(why))
