"""The file that ``model.pod.template`` names: what would fail when the first batch is scored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from flagfall.dataset.kubernetes import is_quantity

SCRATCH = PurePosixPath("/tmp")
"""The one place that the container may write to."""


def why_no_pod(file: Path) -> str:
    """Why a file is no pod that a model can run in; empty where it is one."""
    try:
        found = yaml.load(file.read_bytes(), Loader=yaml.CSafeLoader)
    except FileNotFoundError:
        return f"there is no file {file}: relative paths start at the project's root"
    except (OSError, yaml.YAMLError) as error:
        return f"{file} cannot be read: {' '.join(str(error).split())}"
    if not isinstance(found, dict):
        return f"got {type(found).__name__} in {file}"
    return next((f"got {fault} in {file}" for fault in _faults(found)), "")


def _faults(pod: dict[str, Any]) -> Iterator[str]:
    for key, only in (("apiVersion", "v1"), ("kind", "Pod")):
        if pod.get(key, only) != only:
            yield f"{key}: {pod[key]}"
    for place, value in _quantities(pod.get("spec"), "spec"):
        if not is_quantity(value):
            yield f"{place}: {value} instead of a quantity such as 4Gi"
    if not _has_scratch(pod.get("spec")):
        yield f"no volume at {SCRATCH} in the first container, which can write nowhere else,"


def _has_scratch(spec: Any) -> bool:
    volumes = {volume.get("name") for volume in _objects(spec, "volumes")}
    return any(
        mount.get("name") in volumes
        and PurePosixPath(str(mount.get("mountPath"))) == SCRATCH
        and not mount.get("readOnly")
        for container in _objects(spec, "containers")[:1]
        for mount in _objects(container, "volumeMounts")
    )


def _objects(parent: Any, key: str) -> list[dict[str, Any]]:
    found = parent.get(key) if isinstance(parent, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def _quantities(found: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Sizes and amounts at any depth, and where each of them is."""
    if isinstance(found, list):
        for number, one in enumerate(found):
            yield from _quantities(one, f"{place}[{number}]")
    for key, value in found.items() if isinstance(found, dict) else ():
        inner = f"{place}.{key}"
        if key == "sizeLimit" and value is not None:
            yield inner, value
        elif key in ("limits", "requests") and isinstance(value, dict):
            yield from ((f"{inner}.{name}", amount) for name, amount in value.items())
        else:
            yield from _quantities(value, inner)
