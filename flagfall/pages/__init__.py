"""What people see of feeds in Airflow: reads the lake, makes pages. It knows nothing of Airflow.

A page is HTML of one template. It reads a few objects of the lake (see ``flagfall.ledger``) and
waits for them no longer than a moment: where a lake does not answer, the page shows what was read
last, and says so. Nothing that a producer wrote is markup.
"""
