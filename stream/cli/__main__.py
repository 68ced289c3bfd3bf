"""`python -m stream.cli` is `fraudstream`."""

from stream.cli.main import main

main()
