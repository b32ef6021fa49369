"""Pictures are tried in a browser: from files, by dropping and pasting, from the camera."""

from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Route, expect

from tests.browser.chromium import Seen
from tests.browser.conftest import Service
from tests.service import picture

REFUSED = "Failed to load resource: the server responded with a status of"

GIVE = """async ([names, kind]) => {
    const given = new DataTransfer();
    for (const name of names) {
        const canvas = new OffscreenCanvas(40, 40);
        canvas.getContext('2d').fillRect(0, 0, 20, 20);
        given.items.add(new File([await canvas.convertToBlob()], name, {type: 'image/png'}));
    }
    const event = kind === 'paste'
        ? new ClipboardEvent('paste', {clipboardData: given, bubbles: true})
        : new DragEvent(kind, {dataTransfer: given, bubbles: true, cancelable: true});
    document.getElementById('drop').dispatchEvent(event);
}"""


def files(*names: str) -> list[Any]:
    """Return pictures of these names, as a visitor picks them."""
    return [
        {"name": name, "mimeType": "image/png", "buffer": picture(seed, size=(90, 60))}
        for seed, name in enumerate(names)
    ]


def cards(seen: Seen) -> Locator:
    return seen.page.get_by_role("list", name="Answers, the newest first").locator("> li")


def test_many_pictures_are_answered_each_beside_its_preview(seen: Seen, service: Service) -> None:
    page = seen.page
    page.goto("/")
    expect(page.get_by_role("heading", level=1)).to_have_text("Three small networks vote")
    names = [f"picture-{n}.png" for n in range(12)]
    page.locator("#files").set_input_files(files(*names))
    expect(page.locator("#tally")).to_have_text("12 of 12 pictures answered")
    assert [card.locator("figcaption").inner_text() for card in cards(seen).all()] == names
    for name, card, file in zip(names, cards(seen).all(), files(*names), strict=True):
        answer = service.launcher.client.post(
            "/predict", params={"votes": True}, files=[("file", (name, file["buffer"]))]
        ).json()["predictions"][0]
        expect(card.get_by_role("heading")).to_have_text(answer["label"])
        told = [each.inner_text() for each in card.locator(".dots li").all()]
        assert told == [vote["label"] for vote in answer["votes"]]
        agreeing = round(3 * answer["uncertainty"]["agreement"])
        said = "All 3 members agree" if agreeing == 3 else f"{agreeing} of 3 members agree"
        expect(card.locator(".votes")).to_contain_text(said)
        expect(card.get_by_text("90% of the time the right one is among")).to_be_visible()
        assert card.locator("img").evaluate("image => image.naturalWidth") == 90
    assert seen.violations() == []


def test_the_command_can_be_copied(seen: Seen, service: Service) -> None:
    page = seen.page
    page.goto("/")
    page.locator("#files").set_input_files(files("a rocket.png"))
    page.get_by_text("the same with curl").click()
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("() => navigator.clipboard.readText()") == (
        "curl -F 'file=@a rocket.png' "
        f"'{service.launcher.address}/predict?conformal=0.9&votes=true'"
    )
    assert seen.violations() == []


def test_a_bad_picture_is_told_beside_its_preview_while_others_are_answered(seen: Seen) -> None:
    page = seen.page
    page.goto("/")
    bad = {"name": "broken.jpg", "mimeType": "image/jpeg", "buffer": b"\xff\xd8\xff\xe0broken"}
    page.locator("#files").set_input_files([*files("a.png"), bad, *files("b.png")])
    expect(page.locator("#tally")).to_have_text("3 of 3 pictures answered")
    expect(cards(seen).nth(1).get_by_role("heading")).to_have_text("The picture cannot be read")
    for place in (0, 2):
        expect(cards(seen).nth(place).locator(".dots")).to_be_visible()
    assert seen.violations() == []
    assert [fault.startswith(REFUSED) for fault in seen.faults] == [True]
    seen.faults.clear()


def test_a_picture_above_the_limit_is_not_even_sent(seen: Seen, tmp_path: Path) -> None:
    page = seen.page
    page.goto("/")
    large = tmp_path / "large.png"
    large.write_bytes(b"\0" * (10 * 2**20 + 1))
    page.locator("#files").set_input_files(large)
    expect(cards(seen)).to_contain_text("The picture is too large")
    expect(cards(seen)).to_contain_text("10 MiB")


@pytest.mark.parametrize("kind", ["drop", "paste"])
def test_pictures_may_be_dropped_and_pasted(seen: Seen, kind: str) -> None:
    seen.page.goto("/")
    seen.page.evaluate(GIVE, [["one.png", "two.png"], kind])
    expect(seen.page.locator("#tally")).to_have_text("2 of 2 pictures answered")


def test_examples_are_offered_where_the_machine_has_any(seen: Seen) -> None:
    page = seen.page
    page.goto("/")
    page.get_by_role("button", name="green", exact=True).click()
    expect(cards(seen).locator(".dots")).to_be_visible()
    expect(cards(seen).locator("figcaption")).to_have_text("green.png")
    assert seen.violations() == []


def test_the_camera_takes_pictures_and_goes_dark(seen: Seen) -> None:
    page = seen.page
    page.goto("/")
    page.get_by_role("button", name="Use the camera").click()
    assert seen.violations() == []
    page.get_by_role("button", name="Take a picture").click()
    expect(cards(seen).locator(".dots")).to_be_visible()
    expect(cards(seen).locator("figcaption")).to_contain_text("camera-")
    assert page.locator("#camera-view").evaluate("view => view.srcObject") is None


def test_options_that_are_wrong_are_told_beside_them_and_nothing_is_lost(seen: Seen) -> None:
    page = seen.page
    page.goto("/")
    page.get_by_text("How to ask").click()
    page.get_by_label("Classes to name").fill("99")
    page.get_by_label("Members to ask").fill("2")
    page.locator("#files").set_input_files(files("a.png"))
    wrong = page.get_by_label("Classes to name")
    expect(wrong).to_have_attribute("aria-invalid", "true")
    expect(wrong).to_be_focused()
    expect(wrong).to_have_value("99")
    expect(page.get_by_label("Members to ask")).to_have_value("2")
    expect(page.locator("#top_k-error")).to_contain_text("at most 4")
    assert seen.violations() == []
    assert [fault.startswith(REFUSED) for fault in seen.faults] == [True]
    seen.faults.clear()
    wrong.fill("2")
    page.get_by_role("button", name="Ask again").click()
    expect(cards(seen).locator(".bars li")).to_have_count(2)
    expect(cards(seen).locator(".dots li")).to_have_count(2)
    expect(cards(seen)).to_contain_text("1 more were not asked")
    expect(page.locator("#top_k-error")).to_have_count(0)


def test_a_picture_of_something_else_is_shown_as_such(seen: Seen, service: Service) -> None:
    change = service.launcher.client.put
    change("/ensembles/serving", json={"ensemble": service.strange}).raise_for_status()
    try:
        seen.page.goto("/")
        seen.page.locator("#files").set_input_files(files("a.png"))
        expect(cards(seen)).to_contain_text("Perhaps nothing it knows")
        assert seen.violations() == []
    finally:
        change("/ensembles/serving", json={"ensemble": service.usual}).raise_for_status()


def test_a_picture_is_kept_while_the_service_is_away(seen: Seen) -> None:
    page = seen.page
    page.goto("/")
    page.route("**/pages/try/answer*", lambda route: route.abort())
    page.locator("#files").set_input_files(files("a.png"))
    expect(cards(seen)).to_contain_text("The service cannot be reached")
    seen.faults.clear()
    page.unroute("**/pages/try/answer*")
    page.get_by_role("button", name="Try again").click()
    expect(cards(seen).locator(".dots")).to_be_visible()


def test_of_two_answers_the_one_that_was_asked_for_last_is_shown(seen: Seen) -> None:
    page = seen.page
    routes: list[Route] = []

    def keep(route: Route) -> None:
        routes.append(route)

    page.goto("/")
    page.route("**/pages/try/answer*", keep)

    def asked(count: int) -> bool:
        page.wait_for_timeout(50)
        return len(routes) == count

    def answered(number: int, label: str) -> None:
        body = f'<div class="answer" data-label="{label}"><h2>{label}</h2></div>'
        routes[number].fulfill(body=body, content_type="text/html")

    page.locator("#files").set_input_files(files("a.png"))
    assert any(asked(1) for _ in range(40))
    page.evaluate("document.getElementById('options-form').requestSubmit()")
    assert any(asked(2) for _ in range(40))
    answered(1, "newest")
    expect(cards(seen)).to_contain_text("newest")
    answered(0, "outdated")
    page.wait_for_timeout(200)
    expect(cards(seen)).to_contain_text("newest")


def test_the_keyboard_alone_removes_a_picture(seen: Seen) -> None:
    page = seen.page
    page.goto("/")
    page.locator("#files").set_input_files(files("a.png", "b.png"))
    expect(page.locator("#tally")).to_have_text("2 of 2 pictures answered")
    page.get_by_role("button", name="Remove a.png").press("Enter")
    expect(cards(seen)).to_have_count(1)
    expect(page.get_by_role("button", name="Remove b.png")).to_be_focused()
