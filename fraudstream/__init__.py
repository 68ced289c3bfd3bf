"""The front door: commands, and all that runs beside a fleet or works on files."""
