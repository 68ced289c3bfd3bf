"""What every artifact that is made here must hold: probes that follow from its own files and its feature set."""

from features.declaration import FeatureSet
from fraudstream.lab.training.probe_histories import invented_histories
from fraudstream.lab.training.probe_rows import invented_rows
from models.artifact import Contents, matrix_of, read_artifact, same_bits


def assert_invented(contents: Contents, feature_set: FeatureSet) -> None:
    """Assert that an artifact's probes are made from its trees, its manifest and its feature set, and nothing else."""
    artifact = read_artifact(contents)
    names = artifact.manifest.feature_names
    assert artifact.manifest.fingerprint == feature_set.fingerprint
    expected = invented_histories(feature_set)
    assert [bytes(one) for one in artifact.probe_histories.histories] == [bytes(one) for one in expected.histories]
    assert artifact.probe_histories.vectors == expected.vectors
    rows = matrix_of(artifact.probe_rows.vectors, len(names))
    assert same_bits(rows, invented_rows(artifact.model_text, names, artifact.manifest.reference))
    assert f"\nfeature_infos={' '.join(['none'] * len(names))}\n" in artifact.model_text
