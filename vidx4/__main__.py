"""`python -m vidx4`."""

from vidx4.cli.commands import main

main()
