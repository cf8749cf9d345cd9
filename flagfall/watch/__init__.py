"""Watching a landing zone: on the triggerer, and from the command line."""
