#!/bin/sh
# Runs what it is given, as Airflow's own image does: the Helm chart's probes call /entrypoint, too.
# The first process of a container gets an init above it, which passes signals on and reaps orphans.
if [ $$ -eq 1 ]; then
    exec tini -- "$@"
fi
exec "$@"
