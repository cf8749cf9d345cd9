"""Flagfall: from a marker file to a report.

The core. It never imports Airflow, so it can be tested in milliseconds, run in a container and
outlive Airflow's next change. Arrows point down only::

    cli, demo
    stages/       what is done to a batch
    claim, watch  what to take on; when to look
    inbox         pending = sweep − receipts
    receipts, lake, landing, manifest
    records, marker_formats, marker, dataset, errors
    stores/       the one place that knows a storage API
"""
