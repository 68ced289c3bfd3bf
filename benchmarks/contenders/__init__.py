"""What users would write instead of fraudstream, each as its documentation teaches, measured beside it in one run.

Every contender is a process that reads payments from one topic and writes a score for each to another. Its task comes
in one environment variable; how it gets there is its own. Start with `registry`, then `harness`.
"""
