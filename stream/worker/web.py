"""The web server of a worker: its own pages alone, at the address of `FRAUDSTREAM_HTTP`."""

from faust.web.drivers.aiohttp import Web

from stream.errors import SettingsError
from stream.pages import address_problem


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
