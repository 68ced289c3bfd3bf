"""One trained model for all tests of rescoring; no test changes it."""

from pathlib import Path

import pytest

from support.rescoring.model import Trained, trained


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository for the models of drawn feature sets."""
    return tmp_path_factory.mktemp("drawn-models")
