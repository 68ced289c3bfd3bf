"""Tell at the start whether the alerts to explain carry features; without them there is nothing to explain by."""

from collections.abc import Iterable

from fraudstream_client.outputs import Score
from stream.errors import SettingsError
from stream.settings import PREFIX, Settings

_ADVICE = (
    f"set {PREFIX}SCORE_FEATURES=alerts for the workers and this process, and restart them; `all` works as well, "
    "but only alerts are explained"
)


def require_features(settings: Settings) -> None:
    """Refuse settings by which scores carry no features.

    Raises:
        SettingsError: they carry none; the message says what to set.
    """
    if settings.score_features == "none":
        raise SettingsError(f"{PREFIX}SCORE_FEATURES: none: scores carry no features to explain alerts by; {_ADVICE}")


def require_features_of(settings: Settings, alerts: Iterable[Score]) -> None:
    """Refuse a deployment whose workers write alerts without features, as the newest that is not explained yet shows.

    Raises:
        SettingsError: it carries none; the message says what to do.
    """
    newest = max((one for one in alerts if one.model is not None), key=lambda one: one.scored_at, default=None)
    if newest is None or newest.features is not None:
        return
    raise SettingsError(
        f"{PREFIX}SCORE_FEATURES: the newest alert of deployment {settings.deployment} that is not explained, of "
        f"{newest.scored_at}, carries no features: {_ADVICE}. It is written without reasons if a later alert carries "
        "some, or passed over with `fraudstream explain --since TIME` where nothing was explained yet"
    )
