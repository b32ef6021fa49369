"""Jobs in a browser: asked for with a form, watched while they learn, stopped, cloned, compared."""

import re

from playwright.sync_api import expect

from tests.browser.chromium import Seen
from tests.browser.conftest import Service
from tests.browser.test_try import REFUSED

FORM = "/pages/jobs/new"


def fill(seen: Seen, **fields: str) -> None:
    """Fill in the form: what a visitor chooses, and what they write."""
    for name, value in fields.items():
        field = seen.page.locator(f"#{name}")
        if not field.is_visible():
            seen.page.get_by_text("Everything else").click()
        if field.evaluate("field => field.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)


def start(seen: Seen, name: str, **fields: str) -> str:
    """Start a small job with the form, and return its id."""
    seen.page.goto(FORM)
    fill(seen, dataset="noise", name=name, student="resnet8", members="2", teacher_kind="none")
    fill(seen, batch_size="16", validation_fraction="0.25", **fields)
    seen.page.get_by_role("button", name="Start the job").click()
    expect(seen.page.get_by_role("heading", level=1)).to_have_text(name)
    return seen.page.url.rpartition("/")[2]


def no_sideways(seen: Seen) -> bool:
    wider: int = seen.page.evaluate("document.documentElement.scrollWidth - innerWidth")
    return wider <= 0


def test_a_job_is_watched_from_the_form_to_its_ensemble(seen: Seen, service: Service) -> None:
    page = seen.page
    id_ = start(seen, "watched", epochs="8", promote="never")
    expect(page.locator("#job-state .tag")).to_have_text("running")
    bars = page.locator("#job-networks").get_by_role("progressbar")
    expect(bars).to_have_count(2)
    expect(page.locator("#accuracy polyline").first).to_be_attached()  # grown without a reload
    assert seen.violations() == []
    expect(page.locator("#job-state .tag")).to_have_text("succeeded", timeout=60_000)
    expect(page.get_by_text("2 of 2 members trained")).to_be_visible()
    found = service.launcher.client.get(f"/jobs/{id_}").json()
    together = found["metrics"]["validation"]["pooled"]["accuracy"]
    expect(page.locator("#job-state")).to_contain_text(f"{together:.1%}")
    link = page.get_by_role("link", name="See the ensemble")
    assert link.get_attribute("href") == f"/pages/ensembles/{found['ensemble']}"
    page.get_by_text("Every epoch").click()
    expect(page.locator("#epochs tbody tr")).to_have_count(16)
    assert seen.violations() == []
    assert no_sideways(seen)


def test_the_plan_is_seen_before_anything_starts(seen: Seen, service: Service) -> None:
    page = seen.page
    before = service.launcher.client.get("/jobs").json()["jobs"]
    page.goto(FORM)
    fill(seen, dataset="noise", student="resnet8", members="2", batch_size="16")
    page.get_by_role("button", name="What would it take?").click()
    expect(page.get_by_role("heading", name="What it would take")).to_be_visible()
    expect(page.locator("#members")).to_have_value("2")
    assert seen.violations() == []
    assert no_sideways(seen)
    after = service.launcher.client.get("/jobs").json()["jobs"]
    assert [job["id"] for job in after] == [job["id"] for job in before]


def test_another_preset_changes_what_empty_fields_stand_for(seen: Seen) -> None:
    page = seen.page
    page.goto(FORM)
    fill(seen, dataset="noise", name="mine", batch_size="16")
    epochs = page.locator("#epochs")
    usual = epochs.get_attribute("placeholder")
    fill(seen, preset="strong")
    expect(epochs).not_to_have_attribute("placeholder", usual or "")
    expect(page.locator("#name")).to_have_value("mine")


def test_what_is_wrong_is_told_beside_the_field(seen: Seen) -> None:
    page = seen.page
    page.goto(FORM)
    fill(seen, dataset="noise", members="many", name="../up", temperature="hot")
    page.get_by_role("button", name="Start the job").click()
    expect(page.locator("#members")).to_be_focused()
    for name, text in (("members", "whole number"), ("temperature", "a number")):
        field = page.locator(f"#{name}")
        expect(field).to_have_accessible_description(re.compile(text))
        expect(field).to_be_visible()
    expect(page.locator("#name")).to_have_value("../up")
    assert page.url.endswith(FORM)
    assert seen.violations() == []
    assert [fault.startswith(REFUSED) for fault in seen.faults] == [True]
    seen.faults.clear()


def test_a_job_is_stopped_after_a_question(seen: Seen, service: Service) -> None:
    page = seen.page
    id_ = start(seen, "endless", epochs="5000")
    page.get_by_role("button", name="Stop it").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    assert seen.violations() == []
    dialog.get_by_role("button", name="Leave it").click()
    expect(dialog).to_be_hidden()
    page.get_by_role("button", name="Stop it").click()
    dialog.get_by_role("button", name="Stop it").click()
    expect(page.locator("#job-state .tag")).to_have_text("cancelled")
    assert service.launcher.client.get(f"/jobs/{id_}").json()["status"] == "cancelled"
    expect(page.get_by_role("button", name="Stop it")).to_have_count(0)


def test_a_clone_has_its_fields_and_is_compared_with_it(seen: Seen) -> None:
    page = seen.page
    first = start(seen, "first", epochs="2", promote="never")
    page.get_by_role("link", name="Clone with changes").click()
    for name, value in (("epochs", "2"), ("members", "2"), ("name", "first")):
        expect(page.locator(f"#{name}")).to_have_value(value)
    fill(seen, epochs="3", name="second")
    page.get_by_role("button", name="Start the job").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("second")
    expect(page.locator("#job-state .tag")).to_have_text("succeeded", timeout=60_000)
    page.reload()
    page.get_by_label("Compare with").select_option(first)
    page.get_by_role("button", name="Compare").click()
    rows = page.locator("#differences tbody th")
    assert sorted(rows.all_inner_texts()) == ["epochs", "name"]
    expect(page.locator("#accuracy polyline")).to_have_count(2)
    assert seen.violations() == []
    assert no_sideways(seen)


def test_the_list_moves_by_itself(seen: Seen, service: Service) -> None:
    page = seen.page
    page.goto("/pages/jobs")
    asked = {"dataset": "noise", "student": "resnet8", "members": 1, "epochs": 1, "teacher": None}
    asked |= {"batch_size": 16, "validation_fraction": 0.25, "name": "from-a-program"}
    service.launcher.client.post("/jobs/distill", json=asked | {"promote": "never"})
    line = page.locator(".job-line", has_text="from-a-program").first
    expect(line).to_be_visible()
    expect(line.locator(".tag")).to_have_text("succeeded", timeout=60_000)
    assert seen.violations() == []
    assert no_sideways(seen)
