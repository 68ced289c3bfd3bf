"""One trained model for all the tests of rescoring: they put topics before it and leave it as it is."""

import pytest

from support.rescoring.model import Trained, trained


@pytest.fixture(scope="session")
def live(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return trained(tmp_path_factory.mktemp("models"))
