"""Pictures for a page: matplotlib figures as small inline SVG.

A picture fits a phone (340 units wide, text size 11). On a wide screen pictures stand side by side,
so text stays readable. Text stays text, in the page's own font. Colours are the page's CSS
variables, so one picture serves light mode, dark mode and print: matplotlib draws in placeholder
colours, and ``_colour`` replaces them. The same values give the same bytes. Texts of others here
are a batch's label, which consists of safe characters, and names of classes, which pass
``visible``.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

INK, MUTED, GRID, ACCENT, SOFT, ALERT, PAPER, MIDDLE = (f"#00000{n}" for n in range(1, 9))
TEXT = 11

_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--grid)",
    ACCENT: "var(--accent)",
    SOFT: "var(--soft)",
    ALERT: "var(--alert)",
    PAPER: "var(--paper)",
    MIDDLE: "var(--middle)",
}

_SVG = "http://www.w3.org/2000/svg"

_HREF = "{http://www.w3.org/1999/xlink}href"

ElementTree.register_namespace("", _SVG)

Drawn = ParamSpec("Drawn")


def picture(draw: Callable[Drawn, tuple[Figure, str]]) -> Callable[Drawn, Markup]:
    """Decorate a function that returns a figure and its description; it then returns SVG."""

    @wraps(draw)
    def drawn(*args: Drawn.args, **kwargs: Drawn.kwargs) -> Markup:
        settings = matplotlib.rc_context(
            {
                "svg.fonttype": "none",
                "svg.hashsalt": "flagfall",
                "text.parse_math": False,
                "font.size": TEXT,
            }
        )
        with settings:
            figure, description = draw(*args, **kwargs)
            return _to_svg(figure, draw.__name__.replace("_", "-"), description)

    return drawn


def _to_svg(figure: Figure, name: str, description: str) -> Markup:
    written = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(written, format="svg", transparent=True, metadata=nothing)
    root = ElementTree.fromstring(written.getvalue())
    _drop_style_sheet(root)
    _keep_used_ids(root, name)
    for element in root.iter():
        _tidy(element)
    _describe(root, name, description)
    return Markup(ElementTree.tostring(root, encoding="unicode"))  # escaped by ElementTree


def _drop_style_sheet(root: ElementTree.Element) -> None:
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)


def _keep_used_ids(root: ElementTree.Element, name: str) -> None:
    """Make the ids unique on the page, and drop those that are not used."""
    for element in root.iter():
        old = element.attrib.pop("id", "")
        if element.tag.endswith(("}path", "}clipPath")) and old:
            element.set("id", f"{name}-{old}")
        if reference := element.attrib.pop(_HREF, ""):
            element.set("href", f"#{name}-{reference[1:]}")
        if clip := element.get("clip-path"):
            element.set("clip-path", clip.replace("url(#", f"url(#{name}-"))


def _tidy(element: ElementTree.Element) -> None:
    element.text, element.tail = _stripped(element.text), None
    if style := element.get("style"):
        element.set("style", _colour(re.sub(r" ?font-family: [^;]*;", "", style)))
    if "rotate(-0 " in element.get("transform", ""):
        del element.attrib["transform"]
    for key in ("d", "x", "y", "width", "height"):
        if key in element.attrib:
            element.set(key, _shorter(element.attrib[key]))


def _stripped(text: str | None) -> str | None:
    return text.strip() if text else None


def _colour(style: str) -> str:
    return re.sub(r"#00000[1-8]", lambda match: _VARIABLES[match[0]], style)


def _shorter(numbers: str) -> str:
    rounded = re.sub(r"-?\d+\.\d+", lambda match: f"{float(match[0]):.1f}", numbers)
    return re.sub(r"\s+", " ", rounded.replace(".0", "")).strip()


def _describe(root: ElementTree.Element, name: str, description: str) -> None:
    del root.attrib["width"], root.attrib["height"]
    root.set("class", "plot")
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-title")
    title = ElementTree.Element(f"{{{_SVG}}}title", {"id": f"{name}-title"})
    title.text = description
    root.insert(0, title)
