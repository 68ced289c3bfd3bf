"""From records to decisions: decoded, scored, encoded; and what happened, as facts."""
