"""An Airflow, S3, PostgreSQL and Redis on this machine, and the demo. Never installed."""
