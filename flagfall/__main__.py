"""``python -m flagfall``: the command line."""

from flagfall.cli.main import main

main()
