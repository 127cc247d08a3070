"""`python -m flows` is the command `videobert`."""

from flows.cli import main

main()
