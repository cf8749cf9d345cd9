"""Tables: what counts, for everybody who does not read receipts.

Receipts decide which delivery of a marker counts; a table is made of them, and can be made again.
What it lacks is a set difference: **missing = what counts − what is in the table**.
"""
