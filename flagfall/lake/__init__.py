"""The lake: receipts, records and the output of the stages."""
