"""The requests of a Kubernetes API that Airflow makes, without the HTTP around them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from sandbox.kubernetes.kubelet import Kubelet
from sandbox.kubernetes.selectors import Object, selector
from sandbox.kubernetes.store import Key, Refused, Store, event_of, first_events, merge

KINDS = {
    "configmaps": "ConfigMap",
    "events": "Event",
    "namespaces": "Namespace",
    "pods": "Pod",
}
VERBS = ["create", "delete", "get", "list", "patch", "watch"]
WATCH = 1800.0
"""Seconds after which a watch ends that does not say how long it wants."""
VERSION = {"major": "1", "minor": "34", "gitVersion": "v1.34.0-stand-in"}


@dataclass(frozen=True)
class Request:
    """A request.

    Attributes:
        parts: Of its path.
    """

    method: str
    parts: list[str]
    query: Mapping[str, str] = field(default_factory=dict)
    accept: str = ""
    body: Object = field(default_factory=dict)

    @property
    def is_watch(self) -> bool:
        """Whether it asks for what will be."""
        return self.query.get("watch", "").lower() in ("1", "true")


class Api:
    """Answers requests: an object, a text, or the events of a watch.

    Args:
        store: The objects.
        kubelet: Who runs pods.
        goes_on: Whether watches that began at a time go on.
    """

    def __init__(self, store: Store, kubelet: Kubelet, goes_on: Callable[[float], bool]) -> None:
        self._store = store
        self._kubelet = kubelet
        self._goes_on = goes_on

    def answer(self, request: Request) -> Object | str | Iterator[Object]:
        """Answer.

        Raises:
            Refused: With an error.
        """
        match request.parts:
            case ["version"]:
                return {**VERSION, "platform": "linux/amd64"}
            case ["healthz" | "livez" | "readyz"]:
                return "ok"
            case ["api"]:
                return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
            case ["apis"]:
                return {"kind": "APIGroupList", "apiVersion": "v1", "groups": []}
            case ["api", "v1"]:
                return _resources()
            case ["api", "v1", "namespaces", namespace, kind, *rest] if kind in KINDS:
                return self._in_namespace(request, kind, namespace, rest)
            case ["api", "v1", kind, *rest] if kind in KINDS:
                return self._in_namespace(request, kind, None, rest)
        raise Refused(404, "NotFound", "the server could not find the requested resource")

    def _in_namespace(
        self, request: Request, kind: str, namespace: str | None, rest: list[str]
    ) -> Object | str | Iterator[Object]:
        key = (kind, namespace or "", rest[0] if rest else "")
        match request.method, rest:
            case "GET", []:
                if request.is_watch:
                    return self._watch(request, kind, namespace)
                return self._list(request, kind, namespace)
            case "POST", []:
                return self._create(kind, namespace or "", request.body)
            case "GET", [_] | [_, "status"]:
                return self._store.find(key)
            case "GET", [_, "log"]:
                return self._log(key, request)
            case "PATCH", [_] | [_, "status"]:
                return self._store.change(key, lambda found: merge(found, request.body))
            case "DELETE", [_]:
                return self._delete(key, request)
        raise Refused(405, "MethodNotAllowed", f"{request.method} is not part of the stand-in")

    def _create(self, kind: str, namespace: str, given: Object) -> Object:
        metadata = given.setdefault("metadata", {})
        if "name" not in metadata:
            metadata["name"] = f"{metadata.get('generateName', kind)}{time.time_ns():x}"
        if namespace:
            self._store.find(("namespaces", "", namespace))
        key = (kind, namespace, metadata["name"])
        given |= {"kind": KINDS[kind], "apiVersion": "v1"}
        if kind == "pods":
            given["status"] = {"phase": "Pending"}
        created = self._store.create(key, given)
        if kind == "pods":
            self._kubelet.run(key, created)
        return created

    def _delete(self, key: Key, request: Request) -> Object:
        if key[0] != "pods":
            return self._store.remove(key)
        grace = request.body.get("gracePeriodSeconds", request.query.get("gracePeriodSeconds"))
        return self._kubelet.delete(key, None if grace is None else int(grace))

    def _list(self, request: Request, kind: str, namespace: str | None) -> Object:
        version, items = self._store.listed(kind, namespace, _wanted(request))
        metadata = {"resourceVersion": version}
        if "PartialObjectMetadataList" not in request.accept:
            return {"kind": f"{KINDS[kind]}List", **_V1, "metadata": metadata, "items": items}
        parts = [
            {"kind": "PartialObjectMetadata", **_META, "metadata": one["metadata"]} for one in items
        ]
        whole = {"kind": "PartialObjectMetadataList", **_META}
        return {**whole, "metadata": metadata, "items": parts}

    def _watch(self, request: Request, kind: str, namespace: str | None) -> Iterator[Object]:
        began = time.monotonic()
        until = began + float(request.query.get("timeoutSeconds") or WATCH)
        since, wanted = request.query.get("resourceVersion") or "0", _wanted(request)
        if since == "0":
            since, items = self._store.listed(kind, namespace, wanted)
            yield from first_events(items)
        try:
            changes = self._store.changes(int(since), until, lambda: self._goes_on(began))
            for change in changes:
                if event := event_of(change, kind, namespace, wanted):
                    yield event
        except Refused as expired:
            yield {"type": "ERROR", "object": expired.status()}

    def _log(self, key: Key, request: Request) -> str:
        lines = self._kubelet.log(key).splitlines(keepends=True)
        if tail := request.query.get("tailLines"):
            lines = lines[-int(tail) :]
        return "".join(lines)


_V1 = {"apiVersion": "v1"}
_META = {"apiVersion": "meta.k8s.io/v1"}


def _wanted(request: Request) -> Callable[[Object], bool]:
    given = request.query.get("labelSelector", ""), request.query.get("fieldSelector", "")
    return selector(*given)


def _resources() -> Object:
    """What there is, for clients that ask first."""
    found = [
        {
            "name": name,
            "singularName": kind.lower(),
            "namespaced": name != "namespaces",
            "kind": kind,
            "verbs": VERBS,
        }
        for name, kind in KINDS.items()
    ]
    return {"kind": "APIResourceList", "groupVersion": "v1", "resources": found}


def encoded(event: Object) -> bytes:
    """An event as a line of a watch."""
    return json.dumps(event).encode() + b"\n"
