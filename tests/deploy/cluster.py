"""What is deployed: the Helm chart's values, the pod template and the network policies."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from sandbox.rehearsal import environment_of_pods

DEPLOY = Path(__file__).parents[2] / "deploy"
POD_TEMPLATE = DEPLOY / "pod_template.yaml"
CORES = {10: [], 100: ["values-100-cores.yaml"], 1000: ["values-1000-cores.yaml"]}
"""Sizes of clusters, and the files that are given to Helm after values.yaml."""


def values(cores: int = 10, more: Sequence[str] = ()) -> dict[str, Any]:
    """The values for a cluster and more files, merged as Helm does."""
    merged: dict[str, Any] = {}
    for name in ["values.yaml", *CORES[cores], *more]:
        merged = _merged(merged, yaml.safe_load((DEPLOY / "helm" / name).read_text()))
    return merged


def environment() -> dict[str, str]:
    """What the values put into the environment of every component and task."""
    return environment_of_pods(values())


def _merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        inner = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if inner else value
    return merged
