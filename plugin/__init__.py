"""Flagfall's pages in Airflow's UI: a plugin, with every route behind Airflow's own login.

Airflow's processes all load plugins, workers and triggerer too. So nothing is imported here, and
the pages only when the first of them is asked for (see ``plugin.py``). Only a scheduler that forks
its tasks imports libraries for them (see ``forked.py``).
"""
