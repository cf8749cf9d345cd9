"""A real browser, for what only a browser can tell of a page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def find_chromium() -> str | None:
    """An installed Chromium: ``$FLAGFALL_BROWSER``, or the first on the path."""
    named = os.environ.get("FLAGFALL_BROWSER")
    return named or next(filter(None, map(shutil.which, NAMES)), None)


def required_chromium() -> str:
    """An installed Chromium; without one the test is skipped, or fails where it is required."""
    if (found := find_chromium()) is not None:
        return found
    why = f"no browser: none of {', '.join(NAMES)} is on the path, $FLAGFALL_BROWSER is not set"
    if os.environ.get("FLAGFALL_REQUIRE_BROWSER") == "1":
        pytest.fail(why)
    pytest.skip(why)


@contextmanager
def open_browser() -> Iterator[Browser]:
    """Chromium without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=required_chromium(), args=list(ARGUMENTS)
        )
        yield browser
        browser.close()


__all__ = ["Browser", "BrowserContext", "Dialog", "open_browser"]
