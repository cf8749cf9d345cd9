"""The environment of a container, and what a ``$(NAME)`` in its command stands for."""

from __future__ import annotations

import re
from collections.abc import Mapping

from sandbox.kubernetes.references import References, Waiting
from sandbox.kubernetes.selectors import Object

_REFERENCE = re.compile(r"\$(?:\$|\(([^)]*)\))")


def expanded(text: str, known: Mapping[str, str]) -> str:
    """A text with the values of variables; an unknown ``$(NAME)`` stays, and ``$$`` is ``$``."""

    def put(match: re.Match[str]) -> str:
        return "$" if match[1] is None else known.get(match[1], match[0])

    return _REFERENCE.sub(put, text)


def environment(container: Object, references: References) -> dict[str, str]:
    """The variables of a container.

    Raises:
        Waiting: Something that it refers to is missing, or the stand-in does not know it.
    """
    found: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        for kind in ("configMap", "secret"):
            if given := source.get(f"{kind}Ref"):
                data = references.data(kind, given)
                prefix = source.get("prefix") or ""
                found |= {f"{prefix}{name}": text.decode() for name, text in data.items()}
    for one in container.get("env") or []:
        value = _value(one, references, found)
        if value is not None:
            found[one["name"]] = value
    return found


def _value(one: Object, references: References, known: Mapping[str, str]) -> str | None:
    for kind, given in (one.get("valueFrom") or {}).items():
        match kind:
            case "configMapKeyRef" | "secretKeyRef":
                return references.value(kind.removesuffix("KeyRef"), given)
            case "fieldRef":
                return references.field(given["fieldPath"])
            case "resourceFieldRef":
                return references.resource(given)
        raise Waiting(f"the stand-in does not know {kind} (variable {one['name']})")
    return expanded(one.get("value") or "", known)
