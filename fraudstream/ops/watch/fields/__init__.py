"""Watching the fields of payments: which stop coming, which come for the first time, and which nobody declares."""
