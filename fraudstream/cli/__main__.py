"""`python -m fraudstream.cli` is `fraudstream`."""

from fraudstream.cli.main import main

main()
