"""The warning while histories go back less far than features look: scores are not yet the usual ones."""


def missing_days(age_days: int | None, look_back_days: int) -> int:
    """Return how many days histories of this age lack of what features look back; 0 where the age is not known."""
    return 0 if age_days is None else max(0, look_back_days - age_days)


def young_history(age_days: int | None, look_back_days: int) -> list[str]:
    """Return the warning about histories of this age; empty if they go back far enough, or their age is not known."""
    missing = missing_days(age_days, look_back_days)
    if not missing:
        return []
    expected = f"expect another share of alerts for {missing} more days of payments"
    advice = f"{expected}, or fill older ones in first by `fraudstream backfill`"
    return [f"histories go back {age_days} days, but features look back {look_back_days}: {advice}"]
