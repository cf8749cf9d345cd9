"""What Kubernetes refuses when an object is created or changed.

It checks what a pod template or ``engine: pod`` gets wrong: names, labels, volumes, resources. The
schemas of ``kubernetes-validate`` know types and unknown fields but none of these, and have 108 MB,
which a rehearsal would have to install. So the rules stand here.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any, NamedTuple

from kubernetes.utils.quantity import parse_quantity

from sandbox.kubernetes.selectors import Object
from sandbox.kubernetes.store import Refused

POLICIES = ("Always", "OnFailure", "Never")
PULLS = ("Always", "IfNotPresent", "Never")
RESOURCES = re.compile("cpu|memory|ephemeral-storage|hugepages-.+|.+/.+")
"""Names of what a container may ask for; others than Kubernetes' own have a domain."""
LONGEST_DEADLINE = 2**31 - 1
LONGEST_NAME = 253
LONGEST_LABEL = 63
CAN_CHANGE = ("activeDeadlineSeconds", "tolerations")
"""Fields of a pod's spec that can change, besides the images."""
BY_SERVER = ("creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds")
"""Metadata that a patch does not change."""

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DNS_LABEL = re.compile(_LABEL)
_SUBDOMAIN = re.compile(rf"{_LABEL}(\.{_LABEL})*")
_WORD = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]")
_QUANTITY = re.compile(r"[+-]?[0-9.]+[eEinumkKMGTP]*[-+]?[0-9]*")
_RFC = "a lowercase RFC 1123"
_LOWER = "lower case alphanumeric characters, '-'"
_ENDS = "and must start and end with an alphanumeric character"
_WORDS = f"alphanumeric characters, '-', '_' or '.', {_ENDS}"


class Fault(NamedTuple):
    """What is wrong with a field."""

    field: str
    reason: str
    message: str


def bad_request(message: str) -> Refused:
    """The answer to what cannot be read."""
    return Refused(400, "BadRequest", message)


def check(kind: str, given: Object) -> None:
    """Check an object.

    Raises:
        Refused: It is invalid (422), or a value has the wrong type (400).
    """
    try:
        faults = list(_of_metadata(given["metadata"]))
        if kind == "Pod":
            faults += _of_pod(given.get("spec") or {})
    except (AttributeError, KeyError, TypeError) as error:
        raise bad_request(f"{kind} cannot be handled as a {kind}: {error}") from error
    if faults:
        raise _invalid(kind, given["metadata"].get("name", ""), faults)


def check_new(kind: str, given: Object) -> None:
    """Check what only a new object may not say.

    Raises:
        Refused: It is of another kind, or was read from the API.
    """
    said = given.get("kind", kind), given.get("apiVersion", "v1")
    if said != (kind, "v1"):
        what = f'{said[0]} in version "{said[1]}"'
        raise bad_request(f"{what} cannot be handled as a {kind}")
    if (given.get("metadata") or {}).get("resourceVersion"):
        raise Refused(500, "", "resourceVersion should not be set on objects to be created")


def check_namespace(given: Object, namespace: str) -> None:
    """Check that an object is for the namespace of the request.

    Raises:
        Refused: It is for another one.
    """
    if given["metadata"].get("namespace") not in (None, "", namespace):
        whose = "the namespace of the provided object"
        raise bad_request(f"{whose} does not match the namespace sent on the request")


def check_change(kind: str, before: Object, after: Object) -> None:
    """Check what a patch has made of an object.

    Raises:
        Refused: A field may not change, or has become invalid.
    """
    old, new = before["metadata"], after["metadata"]
    check_namespace(after, old.get("namespace", ""))
    if new.get("name") != old["name"]:
        names = f"object ({new.get('name')}) does not match the name on the URL ({old['name']})"
        raise bad_request(f"the name of the {names}")
    if new.get("uid") != old["uid"]:
        raise _invalid(kind, old["name"], [_bad("metadata.uid", new.get("uid"), "is immutable")])
    if kind == "Pod" and _fixed(before) != _fixed(after):
        others = ", ".join(["`spec.containers[*].image`", *(f"`spec.{one}`" for one in CAN_CHANGE)])
        message = f"Forbidden: pod updates may not change fields other than {others}"
        raise _invalid(kind, old["name"], [Fault("spec", "FieldValueForbidden", message)])
    check(kind, after)


def _fixed(pod: Object) -> Object:
    """What of a pod's spec may not change."""
    spec: Object = copy.deepcopy(pod.get("spec") or {})
    for name in CAN_CHANGE:
        spec.pop(name, None)
    for container in spec.get("containers") or []:
        container.pop("image", None)
    return spec


def _invalid(kind: str, name: str, faults: list[Fault]) -> Refused:
    texts = [f"{fault.field}: {fault.message}" for fault in faults]
    said = texts[0] if len(texts) == 1 else f"[{', '.join(texts)}]"
    details = {"name": name, "kind": kind, "causes": [fault._asdict() for fault in faults]}
    return Refused(422, "Invalid", f'{kind} "{name}" is invalid: {said}', details)


def _bad(field: str, value: object, why: str) -> Fault:
    return Fault(field, "FieldValueInvalid", f"Invalid value: {json.dumps(value)}: {why}")


def _missing(field: str, why: str = "") -> Fault:
    return Fault(field, "FieldValueRequired", f"Required value: {why}".removesuffix(": "))


def _unsupported(field: str, value: object, known: Iterable[str]) -> Fault:
    values = ", ".join(json.dumps(one) for one in known)
    message = f"Unsupported value: {json.dumps(value)}: supported values: {values}"
    return Fault(field, "FieldValueNotSupported", message)


def _forbidden(field: str, why: str) -> Fault:
    return Fault(field, "FieldValueForbidden", f"Forbidden: {why}")


def _of_metadata(metadata: Object) -> Iterator[Fault]:
    name = metadata.get("name")
    if not name:
        yield _missing("metadata.name", "name or generateName is required")
    elif len(name) > LONGEST_NAME:
        yield _bad("metadata.name", name, f"must be no more than {LONGEST_NAME} characters")
    elif not _SUBDOMAIN.fullmatch(name):
        yield _bad(
            "metadata.name", name, f"{_RFC} subdomain must consist of {_LOWER} or '.', {_ENDS}"
        )
    for key, value in (metadata.get("labels") or {}).items():
        yield from _of_key("metadata.labels", key, value)
        yield from _of_label(value)
    for key, value in (metadata.get("annotations") or {}).items():
        yield from _of_key("metadata.annotations", key.lower(), value)


def _of_key(field: str, key: str, value: object) -> Iterator[Fault]:
    if not isinstance(value, str):
        raise TypeError(f"{field}.{key} is no string: {json.dumps(value)}")
    prefix, slash, name = key.rpartition("/")
    if slash and not _SUBDOMAIN.fullmatch(prefix):
        yield _bad(field, key, f"prefix part must consist of {_LOWER} or '.', {_ENDS}")
    if not _WORD.fullmatch(name):
        yield _bad(field, key, f"name part must consist of {_WORDS}")
    if len(name) > LONGEST_LABEL:
        yield _bad(field, name, f"must be no more than {LONGEST_LABEL} characters")


def _of_label(value: str) -> Iterator[Fault]:
    if value and not _WORD.fullmatch(value):
        why = f"a valid label must be an empty string or consist of {_WORDS}"
        yield _bad("metadata.labels", value, why)
    if len(value) > LONGEST_LABEL:
        yield _bad("metadata.labels", value, f"must be no more than {LONGEST_LABEL} characters")


def _of_pod(spec: Object) -> Iterator[Fault]:
    volumes = spec.get("volumes") or []
    if not spec.get("containers"):
        yield _missing("spec.containers")
    yield from _of_settings(spec)
    yield from _named("spec.volumes", volumes)
    for number, volume in enumerate(volumes):
        yield from _of_volume(f"spec.volumes[{number}]", volume)
    for kind in ("initContainers", "containers"):
        containers = spec.get(kind) or []
        yield from _named(f"spec.{kind}", containers)
        for number, container in enumerate(containers):
            names = [volume.get("name") for volume in volumes]
            yield from _of_container(f"spec.{kind}[{number}]", container, names)


def _of_settings(spec: Object) -> Iterator[Fault]:
    if (policy := spec.get("restartPolicy", POLICIES[0])) not in POLICIES:
        yield _unsupported("spec.restartPolicy", policy, POLICIES)
    deadline = spec.get("activeDeadlineSeconds")
    if deadline is not None and not 1 <= deadline <= LONGEST_DEADLINE:
        why = f"must be between 1 and {LONGEST_DEADLINE}, inclusive"
        yield _bad("spec.activeDeadlineSeconds", deadline, why)
    account = spec.get("serviceAccountName")
    if account and not _SUBDOMAIN.fullmatch(account):
        why = f"{_RFC} subdomain must consist of {_LOWER} or '.', {_ENDS}"
        yield _bad("spec.serviceAccountName", account, why)


def _of_volume(path: str, volume: Object) -> Iterator[Fault]:
    """Faults of where its files come from; with no source it is an ``emptyDir``."""
    kinds = [kind for kind, given in volume.items() if kind != "name" and given is not None]
    for kind in kinds[1:]:
        yield _forbidden(f"{path}.{kind}", "may not specify more than 1 volume type")
    if quantity((volume.get("emptyDir") or {}).get("sizeLimit") or "0") < 0:
        why = "SizeLimit field must be a valid resource quantity"
        yield _forbidden(f"{path}.emptyDir.sizeLimit", why)


def _named(path: str, found: list[Object]) -> Iterator[Fault]:
    """Faults of the names of a list's objects."""
    seen: set[object] = set()
    for number, one in enumerate(found):
        field, name = f"{path}[{number}].name", one.get("name")
        if not name:
            yield _missing(field)
        elif name in seen:
            yield Fault(field, "FieldValueDuplicate", f"Duplicate value: {json.dumps(name)}")
        elif len(name) > LONGEST_LABEL or not _DNS_LABEL.fullmatch(name):
            yield _bad(field, name, f"{_RFC} label must consist of {_LOWER}, {_ENDS}")
        seen.add(name)


def _of_container(path: str, container: Object, volumes: list[Any]) -> Iterator[Fault]:
    if not container.get("image"):
        yield _missing(f"{path}.image")
    if (pull := container.get("imagePullPolicy") or PULLS[0]) not in PULLS:
        yield _unsupported(f"{path}.imagePullPolicy", pull, PULLS)
    for number, one in enumerate(container.get("env") or []):
        if one.get("value") and one.get("valueFrom"):
            why = "may not be specified when `value` is not empty"
            yield _bad(f"{path}.env[{number}].valueFrom", "", why)
        if not one.get("name"):
            yield _missing(f"{path}.env[{number}].name")
        if not isinstance(one.get("value") or "", str):
            raise TypeError(f"{path}.env[{number}].value is no string: {json.dumps(one['value'])}")
    yield from _of_mounts(f"{path}.volumeMounts", container.get("volumeMounts") or [], volumes)
    yield from _of_resources(f"{path}.resources", container.get("resources") or {})


def _of_mounts(path: str, mounts: list[Object], volumes: list[Any]) -> Iterator[Fault]:
    seen: set[object] = set()
    for number, mount in enumerate(mounts):
        name, where = mount.get("name"), mount.get("mountPath")
        if name not in volumes:
            field = f"{path}[{number}].name"
            yield Fault(field, "FieldValueNotFound", f"Not found: {json.dumps(name)}")
        if not where:
            yield _missing(f"{path}[{number}].mountPath")
        elif where in seen:
            yield _bad(f"{path}[{number}].mountPath", where, "must be unique")
        seen.add(where)


def _of_resources(path: str, resources: Object) -> Iterator[Fault]:
    limits = resources.get("limits") or {}
    for kind in ("limits", "requests"):
        for name, text in (resources.get(kind) or {}).items():
            if not RESOURCES.fullmatch(name):
                why = "must be a standard resource type or fully qualified"
                yield _bad(f"{path}.{kind}[{name}]", name, why)
            if quantity(text) < 0:
                yield _bad(f"{path}.{kind}[{name}]", text, "must be greater than or equal to 0")
    for name, text in (resources.get("requests") or {}).items():
        if name in limits and quantity(text) > quantity(limits[name]):
            why = f"must be less than or equal to {name} limit of {limits[name]}"
            yield _bad(f"{path}.requests", text, why)


def quantity(text: object) -> Decimal:
    """A quantity such as ``1Gi`` or ``500m``.

    Raises:
        Refused: It is none.
    """
    try:
        if not _QUANTITY.fullmatch(str(text)):
            raise ValueError(text)
        return Decimal(parse_quantity(text))
    except ValueError as error:
        rule = f"quantities must match the regular expression '^{_QUANTITY.pattern}$'"
        raise bad_request(f"Pod cannot be handled as a Pod: {rule}: {json.dumps(text)}") from error
