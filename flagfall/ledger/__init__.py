"""What is known of feeds, written down for pages: one ledger per feed, one board per lake.

Runs and the watchman write it, each time they have judged a feed. It is a cache of receipts and
verdicts: nothing decides by it, and whoever loses a race to write it is made up for by the next.
"""
