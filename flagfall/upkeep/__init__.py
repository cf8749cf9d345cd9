"""Upkeep: what is dropped from the lake, and from the landing zone, after a time.

Nothing is, unless the dataset file says so, but for what late evaluations leave behind. Receipts
never are: a marker may come back.
"""
