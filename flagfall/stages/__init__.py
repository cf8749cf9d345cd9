"""The stages, which process the batches of a shard one after the other."""

STAGES = ("ingest", "preprocess", "infer", "evaluate")
"""The stages of a shard, in order. The report covers a whole run."""
