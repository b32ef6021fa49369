"""Ensembles in a browser: looked at, promoted and taken back, downloaded and brought in."""

from pathlib import Path

from playwright.sync_api import expect

from tests.browser.chromium import Seen
from tests.browser.conftest import Service
from tests.browser.test_jobs import no_sideways
from tests.browser.test_try import REFUSED

PAGE = "/pages/ensembles"


def serving(service: Service) -> str:
    found: str = service.launcher.client.get("/ensembles").json()["serving"]
    return found


def test_one_is_promoted_after_a_question_and_taken_back(seen: Seen, service: Service) -> None:
    page = seen.page
    page.goto(PAGE)
    expect(page.locator(".ensembles > li").first).to_contain_text("answers")
    assert seen.violations() == []
    page.locator(f'a[href="{PAGE}/{service.strange}"]').click()
    page.get_by_role("button", name="Let it answer").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("3 × resnet8")
    assert seen.violations() == []
    dialog.get_by_role("button", name="Leave it").click()
    assert serving(service) == service.usual
    page.get_by_role("button", name="Let it answer").click()
    dialog.get_by_role("button", name="Let it answer").click()
    expect(page.get_by_text("It answers now")).to_be_visible()
    assert serving(service) == service.strange
    assert seen.violations() == []
    page.get_by_role("button", name="Take that back").click()
    page.get_by_role("dialog").get_by_role("button", name="Take it back").click()
    page.wait_for_url(f"**{PAGE}/{service.usual}*")
    expect(page.get_by_role("heading", level=1)).to_contain_text("answers")
    assert serving(service) == service.usual
    assert no_sideways(seen)


def test_one_is_downloaded_and_brought_in_again(
    seen: Seen, service: Service, tmp_path: Path
) -> None:
    page = seen.page
    page.goto(f"{PAGE}/{service.strange}")
    with page.expect_download() as found:
        page.get_by_role("link", name="Download").click()
    archive = tmp_path / found.value.suggested_filename
    found.value.save_as(archive)
    assert archive.name == f"{service.strange}.zip"
    page.goto(PAGE)
    page.get_by_label("Choose a zip").set_input_files(archive)
    expect(page.get_by_text(f"{service.strange} is here")).to_be_visible()
    assert seen.violations() == []
    assert no_sideways(seen)


def test_what_is_no_archive_is_told_beside_the_button(seen: Seen, tmp_path: Path) -> None:
    page = seen.page
    bad = tmp_path / "holiday.zip"
    bad.write_bytes(b"pictures, but no ensemble")
    page.goto(PAGE)
    page.get_by_label("Choose a zip").set_input_files(bad)
    expect(page.locator(".upload-said")).to_contain_text("zip")
    expect(page.locator(".upload-said")).to_have_class("upload-said is-wrong")
    assert seen.violations() == []
    assert [fault.startswith(REFUSED) for fault in seen.faults] == [True]
    seen.faults.clear()
