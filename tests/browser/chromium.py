"""A browser of this machine, the sizes it is tried at, and what axe-core and the page say of it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")

HOW = "no Chromium on this machine: apt-get install chromium"

SIZES = {"desktop": (1280, 800), "phone": (390, 844)}

SERIOUS = {"serious", "critical"}


def find_chromium() -> str | None:
    """Return where a Chromium of this machine is."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


@contextmanager
def browser(path: str) -> Iterator[Browser]:
    """Start the browser at this path, with a camera that shows a moving pattern."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(
            executable_path=path,
            args=[
                "--no-sandbox",  # which root cannot have
                "--disable-dev-shm-usage",
                "--use-fake-device-for-media-stream",
                "--use-fake-ui-for-media-stream",
            ],
        )
        try:
            yield started
        finally:
            started.close()


@dataclass
class Seen:
    """A page, and what went wrong in it without anybody being told.

    Attributes:
        page: to be driven.
        faults: errors of scripts, refusals of the content security policy, failed requests.
        elsewhere: addresses outside of this machine that were asked for.
    """

    page: Page
    faults: list[str] = field(default_factory=list)
    elsewhere: list[str] = field(default_factory=list)

    def violations(self) -> list[str]:
        """Return what axe-core finds serious or critical, one line each."""
        found = Axe().run(self.page).response["violations"]
        return [
            f"{each['impact']} {each['id']}: {node['html'][:160]} ({node['failureSummary']})"
            for each in found
            if each["impact"] in SERIOUS
            for node in each["nodes"]
        ]


@contextmanager
def visit(
    started: Browser, address: str, size: str = "desktop", *, dark: bool = False
) -> Iterator[Seen]:
    """Look at a service as a new visitor.

    Args:
        started: the browser.
        address: of the service; paths are relative to it.
        size: one of ``SIZES``.
        dark: whether the machine prefers dark.
    """
    context: BrowserContext = started.new_context(
        base_url=address,
        viewport={"width": SIZES[size][0], "height": SIZES[size][1]},
        device_scale_factor=2 if size == "phone" else 1,
        has_touch=size == "phone",
        color_scheme="dark" if dark else "light",
        permissions=["clipboard-read", "clipboard-write", "camera"],
    )
    context.set_default_timeout(20_000)
    seen = Seen(context.new_page())
    page = seen.page
    page.on("pageerror", lambda error: seen.faults.append(str(error)))
    page.on(
        "console",
        lambda said: seen.faults.append(said.text) if said.type == "error" else None,
    )
    page.on(
        "request",
        lambda asked: (
            None
            if asked.url.startswith((address, "data:", "blob:"))
            else seen.elsewhere.append(asked.url)
        ),
    )
    try:
        yield seen
    finally:
        context.close()
