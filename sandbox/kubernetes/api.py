"""The requests of a Kubernetes API that Airflow makes, without the HTTP around them."""

from __future__ import annotations

import copy
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.kubernetes.kubelet import Kubelet
from sandbox.kubernetes.selectors import Object, selector
from sandbox.kubernetes.store import Key, Refused, Store, event_of, first_events, merge
from sandbox.kubernetes.validation import (
    BY_SERVER,
    bad_request,
    check,
    check_change,
    check_namespace,
    check_new,
)

KINDS = {
    "configmaps": "ConfigMap",
    "events": "Event",
    "namespaces": "Namespace",
    "pods": "Pod",
    "secrets": "Secret",
}
VERBS = ["create", "delete", "get", "list", "patch", "watch"]
WATCH = 1800.0
"""Seconds after which a watch ends that does not say how long it wants."""
Said = Object | bytes | Iterator[bytes]
"""An object, a text, or parts of one that goes on."""
POLL = 0.1
"""Seconds between two looks at a log that is followed."""
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
        return self._says("watch")

    @property
    def follows(self) -> bool:
        """Whether it asks for a log until its end."""
        return self._says("follow")

    @property
    def is_dry(self) -> bool:
        """Whether it is to change nothing."""
        return "All" in (self.query.get("dryRun"), *self.body.get("dryRun", []))

    def _says(self, name: str) -> bool:
        return self.query.get(name, "").lower() in ("1", "true")

    def number(self, name: str) -> int | None:
        """A number of its query; ``None`` if there is none.

        Raises:
            Refused: It is not a number.
        """
        text = self.query.get(name) or None
        if text is not None and not re.fullmatch("-?[0-9]+", text):
            raise bad_request(f'{name}: Invalid value: "{text}": invalid syntax')
        return None if text is None else int(text)


class Api:
    """Answers requests.

    Args:
        store: The objects.
        kubelet: Who runs pods.
        goes_on: Whether watches that began at a time go on.
    """

    def __init__(self, store: Store, kubelet: Kubelet, goes_on: Callable[[float], bool]) -> None:
        self._store = store
        self._kubelet = kubelet
        self._goes_on = goes_on

    def answer(self, request: Request) -> Said:
        """Answer.

        Raises:
            Refused: With an error.
        """
        match request.parts:
            case ["version"]:
                return {**VERSION, "platform": "linux/amd64"}
            case ["healthz" | "livez" | "readyz"]:
                return b"ok"
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
    ) -> Said:
        if not isinstance(request.body, dict):
            raise Refused(415, "UnsupportedMediaType", "the stand-in takes merge patches only")
        key = (kind, namespace or "", rest[0] if rest else "")
        match request.method, rest:
            case "GET", []:
                if request.is_watch:
                    return self._watch(request, kind, namespace)
                return self._list(request, kind, namespace)
            case "POST", []:
                return self._create(kind, namespace or "", request)
            case "GET", [_] | [_, "status"]:
                return self._store.find(key)
            case "GET", [_, "log"]:
                return self._log(key, request)
            case "PATCH", [_] | [_, "status"]:
                return self._patch(key, request, of_status=len(rest) > 1)
            case "DELETE", [_]:
                return self._delete(key, request)
        raise Refused(405, "MethodNotAllowed", f"{request.method} is not part of the stand-in")

    def _create(self, kind: str, namespace: str, request: Request) -> Object:
        check_new(KINDS[kind], request.body)
        given = {**request.body, "kind": KINDS[kind], "apiVersion": "v1"}
        metadata = given.setdefault("metadata", {})
        if prefix := not metadata.get("name") and metadata.get("generateName"):
            metadata["name"] = f"{prefix}{time.time_ns():x}"
        if namespace:
            self._store.find(("namespaces", "", namespace))
        check_namespace(given, namespace)
        check(KINDS[kind], given)
        if kind == "pods":
            given["status"] = {"phase": "Pending"}
        key = (kind, namespace, metadata["name"])
        created = self._store.create(key, given, request.is_dry)
        if kind == "pods" and not request.is_dry:
            self._kubelet.run(key, created)
        return created

    def _patch(self, key: Key, request: Request, of_status: bool) -> Object:
        kept = "spec" if of_status else "status"

        def change(found: Object) -> None:
            before = copy.deepcopy(found)
            version = (request.body.get("metadata") or {}).get("resourceVersion")
            _check_conditions(before, {"resourceVersion": version}, key)
            merge(found, request.body)
            merge(found, {"metadata": {name: before["metadata"].get(name) for name in BY_SERVER}})
            found |= {kept: before[kept]} if kept in before else {}
            check_change(KINDS[key[0]], before, found)

        return self._store.change(key, change, request.is_dry)

    def _delete(self, key: Key, request: Request) -> Object:
        found = self._store.find(key)
        _check_conditions(found, request.body.get("preconditions") or {}, key)
        if request.is_dry:
            return found
        if key[0] != "pods":
            return self._store.remove(key)
        grace = request.body.get("gracePeriodSeconds", request.number("gracePeriodSeconds"))
        return self._kubelet.delete(key, grace)

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

    def _watch(self, request: Request, kind: str, namespace: str | None) -> Iterator[bytes]:
        began = time.monotonic()
        until = began + (request.number("timeoutSeconds") or WATCH)
        since, wanted = request.number("resourceVersion") or 0, _wanted(request)

        def events() -> Iterator[Object]:
            version = str(since)
            if not since:
                version, items = self._store.listed(kind, namespace, wanted)
                yield from first_events(items)
            try:
                changes = self._store.changes(int(version), until, lambda: self._goes_on(began))
                for change in changes:
                    if event := event_of(change, kind, namespace, wanted):
                        yield event
            except Refused as expired:
                yield {"type": "ERROR", "object": expired.status()}

        return map(encoded, events())

    def _log(self, key: Key, request: Request) -> bytes | Iterator[bytes]:
        file = self._kubelet.log(key, request.query.get("container"))
        if file is None:
            return b""
        lines, printed = request.number("tailLines"), file.read_bytes()
        last = printed if lines is None else _last(printed, lines)
        return self._follow(key, file, last, len(printed)) if request.follows else last

    def _follow(self, key: Key, file: Path, first: bytes, since: int) -> Iterator[bytes]:
        """A log from some bytes on, until the container has ended."""
        began = time.monotonic()
        with file.open("rb") as log:
            log.seek(since)
            more, is_over = first, False
            while self._goes_on(began) and (more or not is_over):
                if more:
                    yield more
                else:
                    time.sleep(POLL)
                is_over = self._kubelet.is_over(key)
                more = log.read()


_V1 = {"apiVersion": "v1"}
_META = {"apiVersion": "meta.k8s.io/v1"}


def _wanted(request: Request) -> Callable[[Object], bool]:
    given = request.query.get("labelSelector", ""), request.query.get("fieldSelector", "")
    try:
        return selector(*given)
    except ValueError as error:
        raise bad_request(f"unable to parse requirement: {error}") from error


def _check_conditions(found: Object, conditions: Object, key: Key) -> None:
    """Check that an object still is what a request is about.

    Raises:
        Refused: It is not.
    """
    for name in ("uid", "resourceVersion"):
        if conditions.get(name) not in (None, found["metadata"][name]):
            what = (
                f"{name} in precondition: {conditions[name]}, in object: {found['metadata'][name]}"
            )
            message = f'Operation cannot be fulfilled on {key[0]} "{key[2]}": {what}'
            raise Refused(409, "Conflict", message)


def _last(printed: bytes, lines: int) -> bytes:
    """The last lines of a log; only a newline ends a line."""
    found = re.findall(rb"[^\n]*\n|[^\n]+", printed)
    return b"".join(found[max(0, len(found) - lines) :])


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
