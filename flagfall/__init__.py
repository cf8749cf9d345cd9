"""Flagfall: from a marker file to a report.

A room imports only from the rooms below it::

    dags  operators  triggers    for Airflow; nothing else imports Airflow
    cli                          the command line
    report  watch  stages        the page of a run; when to look; what is done to a batch
    rows  inbox  scoring         checked rows; pending = sweep − receipts; features, engines, drift
    lake  dataset  publish       receipts and output; the YAML file; how a producer writes
    landing                      markers and what they vouch for
    stores                       the one place that knows a storage API
    concurrency  errors
"""
