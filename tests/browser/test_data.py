"""Own data in a browser: a zip is sent, looked at, warned of, and learned from."""

from pathlib import Path

from playwright.sync_api import expect

from tests.archives import zipped
from tests.browser.chromium import Seen
from tests.browser.conftest import Service
from tests.browser.test_jobs import no_sideways
from tests.browser.test_try import REFUSED
from tests.trees import tiny

PAGE = "/pages/data"


def test_own_pictures_are_sent_looked_at_and_taken_to_a_job(
    seen: Seen, tmp_path: Path, size: str
) -> None:
    page = seen.page
    archive = tmp_path / "mine.zip"
    archive.write_bytes(zipped(tiny()))
    page.goto(PAGE)
    assert seen.violations() == []
    page.get_by_label("Name").fill(f"mine-{size}")
    page.get_by_label("Choose a zip").set_input_files(archive)
    expect(page.get_by_role("heading", level=1)).to_have_text(f"mine-{size}")
    expect(page.locator("#warnings")).to_contain_text("pictures were looked at")
    expect(page.locator(".thumbs img").first).to_be_visible()
    widths = "images => images.map(image => image.naturalWidth)"
    page.wait_for_function(f"() => ({widths})([...document.images]).every(width => width > 0)")
    assert seen.violations() == []
    assert no_sideways(seen)
    page.get_by_role("link", name="Distil an ensemble on it").click()
    expect(page.locator("#dataset")).to_have_value(f"mine-{size}")


def test_a_name_that_is_taken_and_a_file_that_is_no_zip_are_told(
    seen: Seen, service: Service, tmp_path: Path
) -> None:
    page = seen.page
    before = service.launcher.client.get("/datasets").json()
    page.goto(PAGE)
    said = page.locator(".upload-said")
    for name, data, text in (
        ("noise", zipped(tiny()), "noise"),
        ("fresh", b"this is no zip", "zip"),
    ):
        file = tmp_path / f"{name}.zip"
        file.write_bytes(data)
        page.get_by_label("Name").fill(name)
        page.get_by_label("Choose a zip").set_input_files(file)
        expect(said).to_have_class("upload-said is-wrong")
        expect(said).to_contain_text(text)
        expect(page.get_by_label("Name")).to_have_value(name)
    assert seen.violations() == []
    assert service.launcher.client.get("/datasets").json() == before
    assert all(fault.startswith(REFUSED) for fault in seen.faults)
    seen.faults.clear()
