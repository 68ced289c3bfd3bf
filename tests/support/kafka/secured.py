"""A Kafka node with TLS on every listener, and its users; jars only, because its certificates are local files."""

import shutil
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from fraudstream.demo.services.processes import free_port
from support.certificates import Authority
from support.kafka.jars import RECIPE, START_SECONDS, JarsCluster, Layout, NoJars, resolve_jars

ROLES = ("admin", "worker", "guard", "explain", "producer", "backfill", "consumer", "operator")
PASSWORDS = {name: f"{name}-secret" for name in ROLES}


class SecuredCluster(JarsCluster):
    """A node with a listener for SCRAM over TLS and one for mutual TLS; what no ACL allows is denied.

    Raises:
        NoJars: see `resolve_jars`; or there is no JDK, which runs `AclCommands.java`.
    """

    def __init__(self, authority: Authority) -> None:
        if shutil.which("javac") is None:
            raise NoJars("no javac on PATH: a JDK is needed to run Kafka's AclCommand")
        self._tools = resolve_jars("tools.xml", "tools")
        authority.vouch("broker")
        self.by_password = f"127.0.0.1:{free_port()}"
        users = [f"SCRAM-SHA-512=[name={name},password={password}]" for name, password in PASSWORDS.items()]
        super().__init__(
            Layout(
                "secured.properties",
                {"certificates": authority.folder, "password_port": self.by_password.rpartition(":")[2]},
                tuple(word for user in users for word in ("--add-scram", user)),
                authority.context("broker"),
            )
        )
        self.by_certificate = self.brokers
        self._admin = authority.folder / "admin.properties"
        self._admin.write_text(admin_properties(authority.file))

    def acls(self, commands: Iterable[Sequence[str]]) -> None:
        """Run kafka-acls as the administrator with each command's arguments, in one process."""
        jobs = self._admin.with_name("acls.txt")
        jobs.write_text("".join("\t".join(command) + "\n" for command in commands))
        *java, classpath = self._java
        command = [*java, f"{classpath}:{self._tools}/*", "-XX:TieredStopAtLevel=1"]
        command += [str(RECIPE / "AclCommands.java"), self.by_password, str(self._admin), str(jobs)]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=START_SECONDS)
        assert done.returncode == 0, f"{done.stdout[-2_000:]}{done.stderr[-2_000:]}"


def admin_properties(authority: Path) -> str:
    """Return the properties with which Kafka's own tools log in."""
    login = "org.apache.kafka.common.security.scram.ScramLoginModule required"
    return "\n".join(
        [
            "security.protocol=SASL_SSL",
            "sasl.mechanism=SCRAM-SHA-512",
            f'sasl.jaas.config={login} username="admin" password="{PASSWORDS["admin"]}";',
            "ssl.truststore.type=PEM",
            f"ssl.truststore.location={authority}",
        ]
    )
