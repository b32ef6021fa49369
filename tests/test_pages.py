"""What all pages share: how they look to a browser, the sign-in, and who may change anything."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from models.store import Store
from tests.service import running, settings_for
from tests.tiny import publish

PREDICTOR, TRAINER = "a-key-for-pictures-1234", "a-key-for-training-1234"
HERE = {"Sec-Fetch-Site": "same-origin"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def ensemble(folder: Path) -> str:
    store = Store(folder / "store")
    id_ = publish(store, members=3).id
    store.serve(id_)
    return id_


@pytest.fixture(scope="module")
def client(folder: Path, ensemble: str, redis_url: str) -> Iterator[httpx.Client]:
    """A service that asks for no key."""
    assert ensemble
    with running(settings_for(folder, redis_url)) as client:
        yield client


@pytest.fixture(scope="module")
def service(folder: Path, ensemble: str, redis_url: str) -> Iterator[httpx.Client]:
    """A service that asks for keys."""
    assert ensemble
    keys = f"eyes:predict:{PREDICTOR} hands:train:{TRAINER}"
    with running(settings_for(folder, redis_url, api_keys=keys)) as client:
        yield client


@pytest.fixture
def guarded(service: httpx.Client) -> Iterator[httpx.Client]:
    """A browser that has not signed in there."""
    service.cookies.clear()
    yield service
    service.cookies.clear()


def sign_in(client: httpx.Client, key: str, to: str = "/") -> httpx.Response:
    return client.post("/pages/sign-in", params={"to": to}, data={"key": key}, headers=HERE)


def test_the_layout_says_how_the_service_is(client: httpx.Client, ensemble: str) -> None:
    text = client.get("/").text
    assert "3 members" in text
    assert ensemble in text
    assert text.count("<h1") == 1
    assert 'lang="en"' in text


def test_a_service_without_an_ensemble_says_so(tmp_path: Path, redis_url: str) -> None:
    store = tmp_path / "store"
    store.mkdir()
    (store / "serving.json").write_text('{"ensemble": "none-such"}')
    with running(settings_for(tmp_path, redis_url)) as client:
        assert client.get("/readyz").status_code == 503
        response = client.get("/")
    assert response.status_code == 200
    assert "not ready" in response.text


def test_the_status_is_a_piece_of_its_own(client: httpx.Client) -> None:
    text = client.get("/pages/status").text
    assert text.startswith('<p id="status"')
    assert "is-ready" in text


@pytest.mark.parametrize(("cookie", "told"), [("dark", True), ("light", True), ('"><b>', False)])
def test_light_and_dark_are_remembered_and_nothing_else(
    client: httpx.Client, cookie: str, told: bool
) -> None:
    text = client.get("/", headers={"Cookie": f"stillhouse-theme={cookie}"}).text
    assert (f'data-theme="{cookie}"' in text) == told
    assert "<b>" not in text


def test_files_are_asked_for_each_time_and_sent_once(client: httpx.Client) -> None:
    file = client.get("/pages/static/page.js")
    assert file.headers["Cache-Control"] == "no-cache"
    assert file.headers["Content-Type"].startswith("text/javascript")
    again = client.get(file.url, headers={"If-None-Match": file.headers["ETag"]})
    assert again.status_code == 304


@pytest.mark.parametrize(
    "path", ["/pages/nothing", "/pages/", "/pages/static/nothing.js", "/pages/static/..%2fsite.py"]
)
def test_nothing_is_there(client: httpx.Client, path: str) -> None:
    assert client.get(path).status_code == 404


def test_what_is_quoted_in_a_page_is_no_html(client: httpx.Client) -> None:
    for path in ("/pages/<script>x</script>", '/pages/sign-in?to=/"><script>x</script>'):
        assert "<script>x" not in client.get(path).text


def test_pages_are_no_part_of_the_contract(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert not [path for path in paths if path == "/" or path.startswith("/pages")]


# Keys.


def test_without_a_key_a_visitor_learns_nothing(guarded: httpx.Client, ensemble: str) -> None:
    text = guarded.get("/").text
    assert "Sign in" in text
    assert ensemble not in text
    assert "is-ready" in text  # as probes are told
    assert 'id="drop"' not in text


def test_a_key_is_kept_where_no_script_and_no_other_site_can_use_it(guarded: httpx.Client) -> None:
    response = sign_in(guarded, PREDICTOR)
    assert (response.status_code, response.headers["Location"]) == (303, "/")
    cookie = response.headers["Set-Cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "secure" not in cookie  # http, on loopback
    assert "max-age" not in cookie
    assert "expires" not in cookie
    assert 'id="drop"' in guarded.get("/").text


def test_over_tls_the_cookie_is_for_tls_alone(guarded: httpx.Client) -> None:
    headers = {**HERE, "X-Forwarded-Proto": "https"}  # as a proxy on this machine says
    response = guarded.post("/pages/sign-in", data={"key": PREDICTOR}, headers=headers)
    assert "secure" in response.headers["Set-Cookie"].lower()


def test_the_api_takes_no_cookie(guarded: httpx.Client) -> None:
    sign_in(guarded, PREDICTOR)
    assert guarded.get("/classes").status_code == 401
    assert guarded.post("/predict", content=b"").status_code == 401


@pytest.mark.parametrize(
    ("key", "told"),
    [
        ("", "write the key"),
        ("nobody-has-this-key-0000", "nobody has this key"),
        ("with spaces in it, ü", "letters, digits"),
        ("x" * 10_000, "letters, digits"),
        ("newline\r\nSet-Cookie: a=b", "letters, digits"),
    ],
)
def test_a_key_that_is_none_is_told_beside_the_field(
    guarded: httpx.Client, key: str, told: str
) -> None:
    response = sign_in(guarded, key, "/pages/somewhere")
    assert response.status_code == 422
    assert told in response.text
    assert 'aria-invalid="true"' in response.text
    assert "Set-Cookie" not in response.headers
    assert "/pages/sign-in?to=/pages/somewhere" in response.text  # where it goes on


def test_a_key_for_other_things_is_known_too(guarded: httpx.Client) -> None:
    assert sign_in(guarded, TRAINER).status_code == 303
    response = guarded.get("/")
    assert response.status_code == 200
    assert "Sign out" in response.text


def test_who_signs_out_is_forgotten(guarded: httpx.Client) -> None:
    sign_in(guarded, PREDICTOR)
    assert guarded.post("/pages/sign-out", headers=HERE).status_code == 303
    assert 'id="drop"' not in guarded.get("/").text


@pytest.mark.parametrize(
    "to",
    ["//elsewhere.example", "/\\elsewhere.example", "https://elsewhere.example", "", "/a\r\nX: y"],
)
def test_the_sign_in_leads_to_no_other_site(guarded: httpx.Client, to: str) -> None:
    assert sign_in(guarded, PREDICTOR, to).headers["Location"] == "/"


@pytest.mark.parametrize(
    "cookie", ["ü" * 30, "short", "a b c", "nobody-has-this-key-0000", "=" * 9]
)
def test_a_cookie_that_is_no_key_is_as_none(guarded: httpx.Client, cookie: str) -> None:
    header = (b"Cookie", f"stillhouse-key={cookie}".encode("latin-1"))
    response = guarded.get("/", headers=[header])
    assert response.status_code == 200
    assert "3 members" not in response.text


def test_a_visitor_without_a_key_gets_none_from_the_services_own_environment(
    guarded: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STILLHOUSE_API_KEY", PREDICTOR)  # as the operator's shell may have it
    assert "3 members" not in guarded.get("/").text


# Who may change anything.


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
    ],
)
@pytest.mark.parametrize("path", ["/pages/sign-in", "/pages/sign-out", "/pages/try/answer"])
def test_no_other_site_can_do_anything_in_a_visitors_name(
    client: httpx.Client, path: str, headers: dict[str, str]
) -> None:
    response = client.post(path, data={"key": PREDICTOR}, headers=headers)
    assert response.status_code == 403
    assert "Only pages of this service" in response.text
    assert "Set-Cookie" not in response.headers


def test_a_browser_that_tells_only_the_origin_is_believed(client: httpx.Client) -> None:
    origin = str(client.base_url).rstrip("/")
    response = client.post("/pages/sign-out", headers={"Origin": origin})
    assert response.status_code == 303
