"""The stages: what is done to the batches of a shard, one after the other."""

STAGES = ("ingest", "preprocess", "infer", "evaluate")
"""The stages of a shard, in order; the report is made of a whole run."""
