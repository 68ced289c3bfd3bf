"""The command line `fraudstream`, one module for each group of commands.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage or invalid settings. With `--json`, standard output is one JSON
object (or one a line), and everything else goes to standard error.
"""
