"""The web server of a worker: its own pages alone, at the address of `FRAUDSTREAM_HTTP`."""

import errno
import os

from faust.web.drivers.aiohttp import Web

from stream.errors import SettingsError
from stream.settings import PREFIX


class OwnPages(Web):
    """Serves the pages that are added to the app, and 404 for all else: none of Faust's own, whatever its settings.

    Faust's show topics, tables and addresses, and have no login.
    """

    default_blueprints = ()
    production_blueprints = ()
    debug_blueprints = ()
    optional_blueprints = ()

    async def start_server(self) -> None:
        """Bind the address.

        Raises:
            SettingsError: it cannot be bound, as when another worker on this machine has it.
        """
        try:
            await super().start_server()
        except OSError as error:
            raise SettingsError(address_problem(self.app.conf.web_bind, self.app.conf.web_port, error)) from error


def address_problem(host: str, port: int, error: OSError) -> str:
    """Return why an address cannot be bound, and what to do, in one line that names the setting."""
    if error.errno == errno.EADDRINUSE:
        other = f"{host}:{port + 1 if port < 65_535 else port - 1}"  # noqa: PLR2004 - the last port
        return (
            f"{PREFIX}HTTP: {host}:{port} is in use, perhaps by another worker; give each worker on a machine an "
            f"address of its own, such as {PREFIX}HTTP={other}"
        )
    number = error.errno or 0
    reason = os.strerror(number) if number > 0 else error.strerror  # asyncio's own text repeats the address
    return f"{PREFIX}HTTP: {host}:{port} cannot be bound: {reason}; give an address of this machine"
