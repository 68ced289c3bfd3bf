"""One trained model for all tests of rescoring; no test changes it."""

import pytest

from support.rescoring.model import Trained, trained


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained(tmp_path_factory.mktemp("models"))
