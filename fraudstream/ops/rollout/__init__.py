"""How a model becomes live, or does not: guards, verdicts, experiments, deployments and outcomes."""
