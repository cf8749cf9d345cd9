"""A dataset: one feed of batches, described by one file ``datasets/<name>.yaml``."""
