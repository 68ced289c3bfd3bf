"""`fraudstream worker`: runs one worker of the deployment."""

import click

from fraudstream.cli.feature_sets import features_or_refuse
from fraudstream.cli.settings import refused_settings, settings_or_refuse


@click.command()
def worker() -> None:
    """Run one worker until SIGTERM; /health/ready says whether it decides, and if not, why."""
    settings = settings_or_refuse()
    features_or_refuse(settings.features)
    from stream.worker.main import run_worker  # noqa: PLC0415 - Faust takes a second: not for help or a refused setting

    with refused_settings():
        raise SystemExit(run_worker(settings))
