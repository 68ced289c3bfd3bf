"""What `fraudstream model sign` does: it verifies an artifact, and writes a signature beside it."""

from pathlib import Path

from fraudstream.cli.output import refuse, say
from fraudstream.cli.refusals import Refusals
from fraudstream.cli.repository import existing_repository_or_refuse
from fraudstream.cli.settings import refused_settings, settings_or_refuse
from fraudstream.cli.signatures import sign_or_refuse
from models.artifact import MANIFEST, read_manifest
from models.problems import Problem
from stream.control.keys import signer_from
from stream.printing import printable


def sign_model(name: str, key: Path, *, as_json: bool) -> None:
    """Sign a model; exit with 1 if the repository has no such model or a damaged one, and with 2 for a bad key."""
    settings = settings_or_refuse()
    with refused_settings():
        signer = signer_from("--key", str(key))
    repository = existing_repository_or_refuse(settings)
    with Refusals():
        digest = repository.resolve(name)
        if isinstance(digest, Problem):
            refuse(f"{digest.detail}; `fraudstream model list` lists the models")
        manifest = read_manifest(repository.fetch(digest)[MANIFEST])
    file = sign_or_refuse(repository, digest, signer)
    facts = {"digest": digest, "name": manifest.name, "version": manifest.version, "key": signer.key_id, "file": file}
    text = f"signed {manifest.name} {manifest.version} ({digest}) with key {signer.key_id}: {file}"
    say(as_json, facts, printable(text))
