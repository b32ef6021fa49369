"""What all pages share, in a browser: keyboards, light and dark, the sign-in, what is sent."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.chromium import Seen, visit
from tests.browser.conftest import Service
from tests.browser.gallery import GALLERY
from tests.service import running, settings_for

KEY = "a-key-for-pictures-1234"

MOST_KILOBYTES = 300
PAINTED_WITHIN_MS = 1000

PAINT = """() => new Promise(tell => new PerformanceObserver(list => {
    const found = list.getEntriesByName('first-contentful-paint')[0];
    if (found) tell(found.startTime);
}).observe({type: 'paint', buffered: true}))"""
SENT = """() => performance.getEntriesByType('navigation')
    .concat(performance.getEntriesByType('resource'))
    .map(each => each.transferSize).reduce((a, b) => a + b)"""
WIDER_THAN_SEEN = "() => document.documentElement.scrollWidth > innerWidth"


def test_the_first_page_is_small_and_soon_there(seen: Seen) -> None:
    page = seen.page
    page.goto("/", wait_until="load")
    kilobytes, paint_ms = page.evaluate(SENT) / 1000, page.evaluate(PAINT)
    print(f"{kilobytes:.0f} kB sent, first painted after {paint_ms:.0f} ms")
    assert 0 < kilobytes < MOST_KILOBYTES
    assert 0 < paint_ms < PAINTED_WITHIN_MS


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("path", ["/", "/pages/sign-in"])
def test_anybody_can_read_it_and_nothing_is_cut_off(
    chromium: Browser, service: Service, size: str, path: str, dark: bool
) -> None:
    with visit(chromium, service.launcher.address, size, dark=dark) as seen:
        seen.page.goto(path)
        assert seen.violations() == []
        assert not seen.page.evaluate(WIDER_THAN_SEEN)
        assert seen.faults == []


@pytest.mark.parametrize("dark", [False, True])
def test_charts_can_be_read_by_anybody(
    chromium: Browser, service: Service, size: str, dark: bool
) -> None:
    with visit(chromium, service.launcher.address, size, dark=dark) as seen:
        policy = {"Content-Security-Policy": "default-src 'self'"}
        seen.page.route(
            "**/gallery",
            lambda route: route.fulfill(body=GALLERY, content_type="text/html", headers=policy),
        )
        seen.page.goto("/gallery")
        expect(seen.page.get_by_role("img", name="Validation accuracy")).to_be_visible()
        expect(seen.page.get_by_role("progressbar", name="member 1")).to_be_visible()
        assert seen.violations() == []
        assert not seen.page.evaluate(WIDER_THAN_SEEN)
        assert seen.faults == []


def test_the_keyboard_skips_to_the_content_and_reaches_everything(seen: Seen) -> None:
    page = seen.page
    page.goto("/")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#files")).to_be_focused()


def test_light_and_dark_can_be_switched_and_stay_so(seen: Seen) -> None:
    page = seen.page
    page.goto("/")
    ground = "() => getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Switch between light and dark").click()
    dark = page.evaluate(ground)
    assert dark != light
    page.reload()
    assert page.evaluate(ground) == dark
    page.get_by_role("button", name="Switch between light and dark").click()
    assert page.evaluate(ground) == light


def test_a_key_opens_the_pages_until_its_owner_signs_out(
    chromium: Browser, tmp_path: Path, redis_url: str, size: str
) -> None:
    settings = settings_for(tmp_path, redis_url, api_keys=f"eyes:predict:{KEY}")
    with (
        running(settings) as client,
        visit(chromium, str(client.base_url).rstrip("/"), size) as seen,
    ):
        page = seen.page
        page.goto("/")
        page.get_by_role("main").get_by_role("link", name="Sign in").click()
        assert seen.violations() == []
        page.get_by_label("Key").fill("nobody-has-this-key-0000")
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_text("nobody has this key")).to_be_visible()
        expect(page.get_by_label("Key")).to_be_focused()
        assert seen.violations() == []
        seen.faults.clear()  # that it was refused
        page.get_by_label("Key").fill(KEY)
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_text("Drop pictures here")).to_be_visible()
        assert page.evaluate("() => document.cookie") == ""
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_text("This service asks for a key")).to_be_visible()
        assert seen.faults == []
