"""``python -m tests.browser.look /pages/jobs``: pictures of a page of a running service.

Writes ``<folder>/<name>-<size>-<light or dark>.png`` for both sizes and both themes.
"""

import argparse
import re
from pathlib import Path

from tests.browser.chromium import HOW, SIZES, browser, find_chromium, visit


def main() -> None:
    """Take the pictures, and say what axe-core finds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", help="of the page, such as /pages/jobs")
    parser.add_argument("--service", default="http://127.0.0.1:8000", help="its address")
    parser.add_argument("--key", help="of the service, if it asks for one")
    parser.add_argument("--folder", type=Path, default=Path("screenshots"))
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    name = re.sub(r"\W+", "-", asked.path).strip("-") or "try"
    path = find_chromium()
    if path is None:
        raise SystemExit(HOW)
    with browser(path) as started:
        for size in SIZES:
            for dark in (False, True):
                with visit(started, asked.service, size, dark=dark) as seen:
                    if asked.key:
                        seen.page.goto("/pages/sign-in")
                        seen.page.get_by_label("Key").fill(asked.key)
                        seen.page.get_by_role("button", name="Sign in").click()
                    seen.page.goto(asked.path)
                    seen.page.wait_for_timeout(500)  # live pieces come
                    file = asked.folder / f"{name}-{size}-{'dark' if dark else 'light'}.png"
                    seen.page.screenshot(path=file, full_page=True)
                    print(file, *seen.faults, *seen.violations(), sep="\n  ")


if __name__ == "__main__":
    main()
