"""The pipeline on a simulated store, clock and schedule, driven by one seed."""
