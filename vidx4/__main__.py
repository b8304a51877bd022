"""`python -m vidx4`."""

from vidx4.cli import main

main()
