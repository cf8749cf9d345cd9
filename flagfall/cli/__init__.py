"""The command line: ``flagfall``."""
