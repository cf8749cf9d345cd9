"""The volumes that a container mounts, as folders of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.kubernetes.references import References, Waiting
from sandbox.kubernetes.selectors import Object

OF_FILES = ("configMap", "downwardAPI", "projected", "secret")
"""Kinds of volumes whose files come from the API; no container may write them."""


@dataclass
class Mounts:
    """What a container mounts, by where it has it.

    Attributes:
        read: What it may only read.
        written: What it may write, too.
    """

    read: dict[str, Path] = field(default_factory=dict)
    written: dict[str, Path] = field(default_factory=dict)


def make_mounts(spec: Object, references: References, folder: Path) -> Mounts:
    """Make what a pod's first container mounts.

    Args:
        spec: The pod's.
        references: What its volumes refer to.
        folder: For the volumes.

    Raises:
        Waiting: A volume cannot be made.
    """
    made = Mounts()
    volumes = {volume["name"]: volume for volume in spec.get("volumes") or []}
    for mount in spec["containers"][0].get("volumeMounts") or []:
        volume = volumes[mount["name"]]
        kind = next((kind for kind in volume if kind != "name" and volume[kind] is not None), "")
        path = folder / volume["name"]
        path.mkdir(parents=True, exist_ok=True)
        _fill(path, kind, volume, references)
        path /= mount.get("subPath") or ""
        if not path.exists():
            path.mkdir(parents=True)
        is_read = mount.get("readOnly") or kind in OF_FILES
        (made.read if is_read else made.written)[mount["mountPath"]] = path
    return made


def _fill(path: Path, kind: str, volume: Object, references: References) -> None:
    if kind in ("", "emptyDir"):
        return
    if kind not in OF_FILES:
        raise Waiting(f"the stand-in has no {kind} volumes", "CreateContainerError")
    sources = volume[kind].get("sources") or [] if kind == "projected" else [{kind: volume[kind]}]
    try:
        files = [one for source in sources for one in _files(source, references)]
    except Waiting as waiting:
        what = f'MountVolume.SetUp failed for volume "{volume["name"]}" : {waiting}'
        raise Waiting(what, "ContainerCreating") from waiting
    for name, content in files:
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)


def _files(source: Object, references: References) -> Iterator[tuple[str, bytes]]:
    """The files of a source of a volume."""
    for kind, given in source.items():
        if kind == "downwardAPI":
            for item in given.get("items") or []:
                yield item["path"], _own(item, references).encode()
        elif kind in OF_FILES:
            yield from _items(given, references.data(kind, given))
        else:
            raise Waiting(f"the stand-in has no {kind}")


def _own(item: Object, references: References) -> str:
    if field_of := item.get("fieldRef"):
        return references.field(field_of["fieldPath"])
    return references.resource(item["resourceFieldRef"])


def _items(given: Object, data: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """The keys that a source asks for; all where it names none."""
    for item in given.get("items") or [{"key": name, "path": name} for name in data]:
        if item["key"] in data:
            yield item["path"], data[item["key"]]
        elif not given.get("optional"):
            raise Waiting(f"references non-existent key: {item['key']}")
