"""What guards, verdicts, split reports and the watch promise, measured in simulated worlds whose truth is known.

`python -m benchmarks.worlds` prints one table: promised, measured, Monte Carlo error. Each world exists once, here or
in `fraudstream/bench`; tests and this benchmark draw from the same one.
"""
