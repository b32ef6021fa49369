"""What ``page.js`` does for every page: live pieces, forms that stay, dialogs."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import parse_qs

from playwright.sync_api import Browser, Page, Request, Route, expect

from app.pages.rendering import environment
from tests.browser.chromium import Seen, visit
from tests.browser.conftest import Service

LAYOUT = """
{% extends "layout.html" %}
{% from "fields.html" import confirm, text_field %}
{% block title %}Trial{% endblock %}
{% block main %}<h1>Trial</h1>"""

LIVE = """
<section data-live="/trial/live">
  <p id="number">0</p>
  <div id="folds"><details id="fold"><summary>more</summary>0</details></div>
</section>{% endblock %}"""

FORM = """
<form id="form" method="post" action="/trial/form" data-enhanced>
  {{ text_field("name", "Name") }}
  {{ text_field("epochs", "Epochs", "5") }}
  <button>Start</button>
  <button id="plan" data-last-wins formaction="/trial/plan">Plan</button>
</form>
<button type="button" data-opens="sure">Stop it</button>
{% call confirm("sure", "Stop the job?", "/trial/form", "Stop", {"id": "7"}, danger=true) %}
<p>What was trained is kept.</p>
{% endcall %}{% endblock %}"""

POLICY = {"Content-Security-Policy": "default-src 'self'"}


def html_of(template: str) -> str:
    return environment.from_string(template).render(
        path="/trial",
        keys_needed=False,
        signed_in=False,
        theme=None,
        service={"ready": True, "members": 3, "ensemble": "made-up"},
    )


@contextmanager
def trial(
    chromium: Browser, service: Service, size: str, template: str, answer: Callable[[Route], None]
) -> Iterator[Seen]:
    """Show a page of this template, whose calls are answered by the test."""
    html = html_of(LAYOUT + template)
    with visit(chromium, service.launcher.address, size) as seen:
        seen.page.route("**/trial/*", answer)
        seen.page.route(
            "**/trial",
            lambda route: route.fulfill(body=html, content_type="text/html", headers=POLICY),
        )
        seen.page.goto("/trial")
        yield seen


def pieces(number: int, more: str = "") -> str:
    """Return an event whose pieces tell a number."""
    return (
        f'retry: 50\ndata: <p id="number">{number}</p>\n'
        f'data: <div id="folds"><details id="fold"><summary>more</summary>{number}</details></div>'
        f"\n\n{more}"
    )


def test_live_pieces_come_again_after_a_lost_connection_and_end(
    chromium: Browser, service: Service, size: str
) -> None:
    asked: list[Request] = []

    def answer(route: Route) -> None:
        asked.append(route.request)
        match len(asked):
            case 1 | 3:
                route.fulfill(body=pieces(len(asked)), content_type="text/event-stream")
            case 2:
                route.fulfill(status=503, body="no stream")  # after which browsers give up
            case _:
                end = "event: end\ndata:\n\n"
                route.fulfill(body=pieces(len(asked), end), content_type="text/event-stream")

    with trial(chromium, service, size, LIVE, answer) as seen:
        page = seen.page
        page.locator("#fold summary").click()
        expect(page.locator("#number")).to_have_text("4")
        expect(page.locator("#fold")).to_have_attribute("open", "")  # as its visitor left it
        expect(page.locator("#lost")).to_be_hidden()
        assert len(asked) == 4


def test_a_page_that_nobody_sees_gives_its_connection_back(
    chromium: Browser, service: Service, size: str
) -> None:
    def answer(_: Route) -> None:
        """Say nothing: it stays connected."""

    def hide(page: Page, hidden: bool) -> None:
        page.evaluate(
            """hidden => {
                Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});
                document.dispatchEvent(new Event('visibilitychange'));
            }""",
            hidden,
        )

    with trial(chromium, service, size, LIVE, answer) as seen:
        with seen.page.expect_event("requestfailed"):
            hide(seen.page, hidden=True)
        with seen.page.expect_request("**/trial/live"):
            hide(seen.page, hidden=False)


def test_a_refused_form_keeps_what_was_typed_and_tells_it_beside_the_field(
    chromium: Browser, service: Service, size: str
) -> None:
    bodies: list[str | None] = []

    def answer(route: Route) -> None:
        bodies.append(route.request.post_data)
        assert route.request.headers["x-fragment"] == "1"
        wrong = (
            '{% from "fields.html" import text_field %}'
            '{{ text_field("epochs", "Epochs", "none", error="a number from 1 on") }}'
        )
        piece = environment.from_string(wrong).render()
        route.fulfill(status=422, body=piece, content_type="text/html")

    with trial(chromium, service, size, FORM, answer) as seen:
        page = seen.page
        page.get_by_label("Name").fill("my <first> job")
        page.get_by_label("Epochs").fill("none")
        page.get_by_role("button", name="Start").click()
        expect(page.locator("#epochs-error")).to_have_text("a number from 1 on")
        expect(page.get_by_label("Epochs")).to_be_focused()
        expect(page.get_by_label("Name")).to_have_value("my <first> job")
        assert bodies == ["name=my+%3Cfirst%3E+job&epochs=none"]
        assert seen.violations() == []


def test_what_is_typed_and_asked_while_a_form_is_on_its_way_is_not_lost(
    chromium: Browser, service: Service, size: str
) -> None:
    routes: list[Route] = []

    def keep(route: Route) -> None:
        routes.append(route)

    with trial(chromium, service, size, FORM, keep) as seen:
        page = seen.page

        def answered(number: int) -> None:
            piece = (
                '{% from "fields.html" import text_field %}{{ text_field("name", "Name", value) }}'
            )
            route = routes[number]
            sent = parse_qs(route.request.post_data or "")["name"][0]
            body = environment.from_string(piece).render(value=sent)
            route.fulfill(body=body, content_type="text/html")

        def sent(count: int) -> bool:
            page.wait_for_timeout(50)
            return len(routes) == count

        page.get_by_label("Name").fill("first")
        page.get_by_role("button", name="Plan").click()
        assert any(sent(1) for _ in range(40))
        page.get_by_label("Name").fill("second")
        page.get_by_role("button", name="Plan").click()
        page.get_by_role("button", name="Start").click()  # pressed twice, it would start two
        answered(0)
        assert any(sent(2) for _ in range(40))
        expect(page.get_by_label("Name")).to_have_value("second")
        answered(1)
        page.wait_for_timeout(200)
        assert [route.request.url.rpartition("/")[2] for route in routes] == ["plan", "plan"]
        assert "name=second" in (routes[1].request.post_data or "")
        expect(page.get_by_label("Name")).to_have_value("second")


def test_a_form_that_cannot_be_sent_says_so_and_loses_nothing(
    chromium: Browser, service: Service, size: str
) -> None:
    with trial(chromium, service, size, FORM, lambda route: route.abort()) as seen:
        page = seen.page
        page.get_by_label("Name").fill("typed")
        page.get_by_role("button", name="Start").click()
        expect(page.get_by_role("alert")).to_contain_text("cannot be reached")
        expect(page.get_by_label("Name")).to_have_value("typed")


def test_a_question_is_asked_before_something_happens(
    chromium: Browser, service: Service, size: str
) -> None:
    bodies: list[str | None] = []

    def answer(route: Route) -> None:
        bodies.append(route.request.post_data)
        route.fulfill(status=303, headers={"Location": "/pages/sign-in"})

    with trial(chromium, service, size, FORM, answer) as seen:
        page = seen.page
        page.get_by_role("button", name="Stop it").click()
        dialog = page.get_by_role("dialog", name="Stop the job?")
        expect(dialog.get_by_role("button", name="Leave it")).to_be_focused()
        assert seen.violations() == []
        page.keyboard.press("Enter")
        expect(dialog).to_be_hidden()
        page.get_by_role("button", name="Stop it").click()
        page.keyboard.press("Escape")
        expect(dialog).to_be_hidden()
        assert bodies == []
        page.get_by_role("button", name="Stop it").click()
        dialog.get_by_role("button", name="Stop", exact=True).click()
        page.wait_for_url("**/pages/sign-in")  # where it led
        assert bodies == ["id=7"]
