"""The command line: what `fraudstream` does, one module a family of commands.

Exit codes: 0 done, 1 refused or found wanting, 2 used wrongly. With `--json`, standard output is one JSON object (or
one a line), and everything else goes to standard error.
"""
