"""Certificates for tests, made by the `openssl` command: an authority, and certificates that it signs for a day."""

import shutil
import ssl
import subprocess
from pathlib import Path

EXTENSIONS = """
[req]
distinguished_name = name
[name]
[authority]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
subjectKeyIdentifier = hash
[owner]
basicConstraints = critical,CA:FALSE
subjectAltName = {names}
"""
LOOPBACK = "IP:127.0.0.1,DNS:localhost"


class NoCertificates(Exception):  # noqa: N818 - a state of the machine
    """There is no `openssl` command, or it is older than 3.0 and cannot sign in one command."""


class Authority:
    """A certificate authority in a folder of its own; `file` is its certificate, to be trusted by clients.

    Raises:
        NoCertificates: `openssl` is missing or too old.
    """

    def __init__(self, folder: Path, name: str = "authority") -> None:
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.file = folder / "authority.pem"
        if shutil.which("openssl") is None:
            raise NoCertificates("no openssl on PATH")
        self._make("authority", name, "-extensions", "authority")

    def vouch(self, name: str, names: str = LOOPBACK) -> tuple[Path, Path]:
        """Sign a certificate for `name` at the addresses `names`; return it and its private key.

        Both together are in `<name>-pair.pem`.
        """
        signing = ("-CA", str(self.file), "-CAkey", str(self.folder / "authority.key"))
        certificate, key = self._make(name, name, "-extensions", "owner", *signing, names=names)
        (self.folder / f"{name}-pair.pem").write_text(key.read_text() + certificate.read_text())
        return certificate, key

    def context(self, name: str) -> ssl.SSLContext:
        """Return an SSL context with the certificate of `name`."""
        context = ssl.create_default_context(cafile=str(self.file))
        context.load_cert_chain(self.folder / f"{name}-pair.pem")
        return context

    def _make(self, stem: str, name: str, *options: str, names: str = LOOPBACK) -> tuple[Path, Path]:
        certificate, key, recipe = (self.folder / f"{stem}.{ending}" for ending in ("pem", "key", "cnf"))
        recipe.write_text(EXTENSIONS.format(names=names))
        command = ["openssl", "req", "-x509", "-config", str(recipe), "-subj", f"/CN={name}", "-days", "1", "-noenc"]
        command += ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        command += ["-out", str(certificate), "-keyout", str(key), *options]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise NoCertificates(f"openssl cannot sign: {done.stderr[-300:]}")
        return certificate, key
