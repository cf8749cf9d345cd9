"""The pictures of ``docs/page.md``: ``python -m tests.live.page_pictures``."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory

from sandbox.s3 import LocalS3
from tests.browser import open_browser
from tests.live.page_airflow import BUCKET, PageAirflow, fill, page_airflow

DOCS = Path(__file__).parents[2] / "docs"


def shown(page: PageAirflow) -> dict[str, tuple[str, str, int]]:
    """By the picture's name: the page, light or dark, and the height."""
    rows = json.loads((page.root / "lake/orders/ledger.json").read_text())["rows"]
    row = next(row for row in rows if row["rejected_rows"] and row["label"].count("-") == 2)
    batch = f"feeds/orders_pipeline/batches/{row['landed_at'][:10]}/{row['batch_id']}"
    return {"page-feeds": ("", "light", 500), "page-batch": (batch, "dark", 900)}


def main() -> None:
    """Start an Airflow, fill its feeds, and take the pictures."""
    with (
        TemporaryDirectory(prefix="flagfall-pictures-") as folder,
        LocalS3(Path(folder, "s3"), BUCKET, marker="datapackage.json") as server,
        page_airflow(Path(folder), server) as page,
        open_browser() as browser,
    ):
        with server.reached_by("page_s3"):
            fill(page)
        for name, (path, theme, height) in shown(page).items():
            context = browser.new_context(viewport={"width": 1280, "height": height})
            token = page.token("user")
            context.add_cookies([{"name": "_token", "value": token, "url": page.url}])
            context.add_init_script(f"localStorage.theme = '{theme}'")
            tab = context.new_page()
            tab.goto(f"{page.url}/plugin/flagfall/flagfall/{path}")
            tab.frame_locator("iframe").locator("table").first.wait_for()
            tab.get_by_text("Browse", exact=True).wait_for()
            tab.screenshot(path=DOCS / f"{name}.png")
            context.close()


if __name__ == "__main__":
    main()
