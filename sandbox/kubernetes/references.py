"""What a pod refers to: config maps, secrets, its own fields and its resources."""

from __future__ import annotations

import base64
import math
import os
import re

import psutil

from flagfall.errors import FlagfallError
from sandbox.kubernetes.selectors import Object
from sandbox.kubernetes.store import Refused, Store
from sandbox.kubernetes.validation import quantity

NODE = "this-machine"
ADDRESS = "127.0.0.1"
"""Of the node and of every pod."""
_BY_KEY = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")


class Waiting(FlagfallError):
    """Why a container cannot start yet.

    Attributes:
        reason: As Kubernetes has it.
    """

    def __init__(self, message: str, reason: str = "CreateContainerConfigError") -> None:
        super().__init__(message)
        self.reason = reason


class References:
    """What one pod refers to.

    Args:
        store: The objects.
        pod: As it was created.
    """

    def __init__(self, store: Store, pod: Object) -> None:
        self._store = store
        self._pod = pod

    def data(self, kind: str, given: Object) -> dict[str, bytes]:
        """Everything in a config map or secret; nothing where it is missing and optional.

        Args:
            kind: ``configMap`` or ``secret``.
            given: The reference.

        Raises:
            Waiting: It is missing.
        """
        name = given.get("name") or given.get("secretName")
        key = (f"{kind.lower()}s", self._pod["metadata"]["namespace"], str(name))
        try:
            found = self._store.find(key)
        except Refused as missing:
            if given.get("optional"):
                return {}
            raise Waiting(f'{kind.lower()} "{name}" not found') from missing
        encoded = found.get("binaryData" if kind == "configMap" else "data") or {}
        texts = found.get("data" if kind == "configMap" else "stringData") or {}
        return {
            **{name: base64.b64decode(text) for name, text in encoded.items()},
            **{name: text.encode() for name, text in texts.items()},
        }

    def value(self, kind: str, given: Object) -> str | None:
        """One value of a config map or secret; ``None`` where it is missing and optional.

        Raises:
            Waiting: It is missing.
        """
        found = self.data(kind, given)
        if given["key"] in found:
            return found[given["key"]].decode()
        if given.get("optional"):
            return None
        raise Waiting(f"couldn't find key {given['key']} in {kind.lower()} {given['name']}")

    def field(self, path: str) -> str:
        """A field of the pod.

        Raises:
            Waiting: The stand-in does not know the field.
        """
        metadata = self._pod["metadata"]
        if match := _BY_KEY.fullmatch(path):
            return str((metadata.get(match[1]) or {}).get(match[2], ""))
        known = {
            "spec.nodeName": NODE,
            "spec.serviceAccountName": self._pod["spec"].get("serviceAccountName", "default"),
            "status.hostIP": ADDRESS,
            "status.podIP": ADDRESS,
            **{f"metadata.{name}": metadata[name] for name in ("name", "namespace", "uid")},
        }
        if path not in known:
            raise Waiting(f"the stand-in does not know fieldRef {path}")
        return str(known[path])

    def resource(self, given: Object) -> str:
        """A request or limit of the first container; without a limit, what the node has.

        Raises:
            Waiting: The stand-in does not know the resource.
        """
        kind, _, name = given["resource"].partition(".")
        resources: Object = self._pod["spec"]["containers"][0].get("resources") or {}
        found = (resources.get("limits") or {}).get(name)
        if kind == "requests":
            found = (resources.get(kind) or {}).get(name, found or 0)
        elif found is None:
            has = {"cpu": os.cpu_count(), "memory": psutil.virtual_memory().total}
            found = has.get(name)
        if found is None:
            raise Waiting(f"the stand-in does not know resourceFieldRef {given['resource']}")
        return str(math.ceil(quantity(found) / (quantity(given.get("divisor") or "1") or 1)))
