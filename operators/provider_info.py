"""What Airflow's provider manager is given (entry point ``apache_airflow_provider``).

``airflow providers list`` shows it, and the web server trusts the link classes that it names.
Airflow's ``provider_info.schema.json`` has the keys.
"""

from __future__ import annotations

from typing import Any

NAME = "Flagfall"
_OPERATORS = ("stages", "pod_inference", "watchman")


def provider_info() -> dict[str, Any]:
    """Name, description, and where operators, sensor, triggers and links are."""
    return {
        "package-name": "flagfall",
        "name": NAME,
        "description": "Event-driven batch scoring: from a marker file to a report.",
        "integrations": [{"integration-name": NAME, "tags": ["software"]}],
        "operators": [
            _modules(*(f"flagfall.operators.{name}" for name in _OPERATORS)),
        ],
        "sensors": [_modules("flagfall.operators.sensors")],
        "triggers": [_modules("flagfall.triggers.markers")],
        "extra-links": ["flagfall.operators.stages.ReportLink"],
    }


def _modules(*names: str) -> dict[str, Any]:
    return {"integration-name": NAME, "python-modules": list(names)}
