"""Worlds with known truth, simulated by the code of guards, verdicts, experiments and drift."""
