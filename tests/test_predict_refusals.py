"""What POST /predict refuses, and how it says so: one bad input hurts only itself."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from models.store import Store
from tests.service import ask, parts, picture, problem_of, running, same_answer, settings_for
from tests.tiny import publish

LIMITS = {
    "max_picture_bytes": 20_000,
    "max_picture_pixels": 10_000,
    "max_pictures_per_request": 20,
    "max_request_bytes": 100_000,
    "max_recipe_bytes": 5_000,
}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("predict")
    store = Store(folder / "store")
    store.serve(publish(store).id)
    with running(settings_for(folder, redis_url, **LIMITS)) as client:
        yield client


@pytest.fixture
def client_of_nothing(tmp_path: Path, redis_url: str) -> Iterator[httpx.Client]:
    """A service whose serving ensemble has been deleted, so that it has nothing to answer with."""
    store = Store(tmp_path / "store")
    manifest = publish(store)
    store.serve(manifest.id)
    store.files.delete(f"ensembles/{manifest.id}")
    with running(settings_for(tmp_path, redis_url)) as client:
        yield client


def test_a_corrupt_picture_fails_alone(client: httpx.Client) -> None:
    damaged = picture()[:200]
    bodies = [parts(picture(0), ("bad.png", damaged), picture(2))]
    bodies += [parts(picture(seed)) for seed in range(8)]
    with ThreadPoolExecutor(len(bodies)) as pool:
        bad, *good = pool.map(lambda files: client.post("/predict", files=files), bodies)
    problem = problem_of(bad, 422, "unreadable-picture")
    assert problem["detail"].startswith("picture 1 (bad.png): ")
    for seed, response in enumerate(good):
        assert response.status_code == 200
        assert same_answer(response.json(), ask(client, picture(seed)))


@pytest.mark.parametrize("type_", ["text/plain", "application/json", "image/tiff", "", None])
def test_other_types_are_refused(client: httpx.Client, type_: str | None) -> None:
    headers = {} if type_ is None else {"Content-Type": type_}
    response = client.post("/predict", content=picture(), headers=headers)
    assert "image/png" in problem_of(response, 415, "unsupported-picture")["detail"]


@pytest.mark.parametrize("multipart", [True, False])
def test_pictures_of_other_formats_are_refused_whatever_they_are_called(
    client: httpx.Client, multipart: bool
) -> None:
    file = picture(format="TIFF")
    response = (
        client.post("/predict", files=parts(picture(), ("a.png", file)))
        if multipart
        else client.post("/predict", content=file, headers={"Content-Type": "image/png"})
    )
    problem = problem_of(response, 415, "unsupported-picture")
    assert ("picture 1 (a.png)" if multipart else "picture 0") in problem["detail"]


@pytest.mark.parametrize("multipart", [True, False])
def test_a_picture_of_too_many_bytes_is_refused(client: httpx.Client, multipart: bool) -> None:
    file = picture(size=(90, 90))
    assert len(file) > LIMITS["max_picture_bytes"]
    response = (
        client.post("/predict", files=parts(picture(), ("large.png", file)))
        if multipart
        else client.post("/predict", content=file, headers={"Content-Type": "image/png"})
    )
    problem = problem_of(response, 413, "picture-too-large")
    assert ("picture 1 (large.png)" if multipart else "picture 0") in problem["detail"]
    assert str(LIMITS["max_picture_bytes"]) in problem["detail"]


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(client: httpx.Client) -> None:
    file = BytesIO()
    Image.new("L", (101, 100)).save(file, "PNG")
    damaged = file.getvalue().replace(b"IDAT", b"IDAT" + bytes(9))  # nothing to decode
    response = client.post("/predict", files=parts(("wide.png", damaged)))
    detail = problem_of(response, 413, "picture-too-large")["detail"]
    assert detail.startswith("picture 0 (wide.png): the picture has 101 x 100 pixels")


def test_too_many_pictures_are_refused(client: httpx.Client) -> None:
    assert len(ask(client, *[picture()] * 20)["predictions"]) == 20
    response = client.post("/predict", files=parts(*[picture()] * 21))
    assert "20" in problem_of(response, 422, "unreadable-picture")["detail"]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("type_", ["image/png", "multipart/form-data; boundary=x"])
def test_a_body_of_too_many_bytes_is_refused(
    client: httpx.Client, type_: str, chunked: bool
) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    pieces = [head, *[bytes(10_000)] * 11, b"\r\n--x--\r\n"]
    response = client.post(
        "/predict",
        content=iter(pieces) if chunked else b"".join(pieces),
        headers={"Content-Type": type_},
    )
    # A raw body whose length nobody knows may be known first to be no picture: it comes in pieces.
    found = response.json()["type"].rpartition(":")[2]
    kinds = {"request-too-large": "max_request_bytes"}
    if chunked and type_ == "image/png":
        kinds["picture-too-large"] = "max_picture_bytes"
    assert str(LIMITS[kinds[found]]) in problem_of(response, 413, found)["detail"]


def test_other_calls_take_no_body_as_large_as_a_picture(client: httpx.Client) -> None:
    response = client.post("/jobs/distill", json={"name": "a" * LIMITS["max_recipe_bytes"]})
    detail = problem_of(response, 413, "request-too-large")["detail"]
    assert str(LIMITS["max_recipe_bytes"]) in detail


@pytest.mark.parametrize(
    "files",
    [
        [("picture", ("a.png", picture()))],
        [*parts(picture()), ("other", ("a.png", picture()))],
        [*parts(picture()), ("file", (None, b"no file, a field"))],
        [("file", ("a.png", b""))],
        [("file", ("", picture())), ("fil\u00e9", ("a", b""))],
    ],
    ids=["another name", "one more", "a field", "an empty file", "odd names"],
)
def test_other_parts_are_refused(client: httpx.Client, files: Any) -> None:
    problem_of(client.post("/predict", files=files), 422, "unreadable-picture")


FORM = "multipart/form-data"
HEAD = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n'
FIELD = b'--x\r\nContent-Disposition: form-data; name="file"\r\n'
DATA = b"\r\na\r\n--x--\r\n"


@pytest.mark.parametrize(
    ("type_", "body"),
    [
        pytest.param("image/png", b"", id="empty picture"),
        pytest.param(f"{FORM}; boundary=x", b"", id="empty form"),
        pytest.param(f"{FORM}; boundary=x", b"--x--\r\n", id="no parts"),
        pytest.param(f"{FORM}; boundary=x; charset=odd", HEAD + DATA, id="unknown charset"),
        pytest.param(f"{FORM}; boundary=x; charset=utf-16", HEAD + DATA, id="another charset"),
        pytest.param(f"{FORM}; boundary=x; charset=idna", HEAD + DATA, id="hardly a charset"),
        pytest.param(
            f"{FORM}; boundary=x", HEAD.replace(b"a.png", b"\xff\xfe") + DATA, id="name not UTF-8"
        ),
    ],
)
def test_bodies_without_a_picture_are_refused(
    client: httpx.Client, type_: str, body: bytes
) -> None:
    response = client.post("/predict", content=body, headers={"Content-Type": type_})
    problem_of(response, 422, "unreadable-picture")


@pytest.mark.parametrize(
    ("type_", "body"),
    [
        pytest.param(FORM, HEAD + DATA, id="no boundary named"),
        pytest.param(f"{FORM}; boundary=", HEAD + DATA, id="empty boundary"),
        pytest.param(f"{FORM}; boundary=" + "y" * 5000, HEAD + DATA, id="long boundary"),
        pytest.param(f"{FORM}; boundary=x", b"no boundary at all", id="no boundary"),
        pytest.param(f"{FORM}; boundary=y", HEAD + DATA, id="another boundary"),
        pytest.param(f"{FORM}; boundary=x", HEAD + b"\r\n" + picture(), id="cut short"),
        pytest.param(f"{FORM}; boundary=x", HEAD + DATA + HEAD, id="second part cut short"),
        pytest.param(f"{FORM}; boundary=x", HEAD + DATA.replace(b"x", b"y"), id="wrong end"),
        pytest.param(f"{FORM}; boundary=x", b"--x\r\nA: b\r\n" + DATA, id="part without name"),
        pytest.param(f"{FORM}; boundary=x", HEAD + b"Odd\r\n" + DATA, id="malformed header"),
        pytest.param(f"{FORM}; boundary=x", HEAD + b"A: b\r\n" * 1000 + DATA, id="many headers"),
        pytest.param(f"{FORM}; boundary=x", (FIELD + b"\r\na\r\n") * 2 + DATA, id="many fields"),
    ],
)
def test_malformed_bodies_are_refused(client: httpx.Client, type_: str, body: bytes) -> None:
    response = client.post("/predict", content=body, headers={"Content-Type": type_})
    problem_of(response, 422, "unreadable-picture")


@pytest.mark.parametrize(
    ("charset", "name"),
    [("undefined", "a"), ("idna", "xn--a"), ("utf-7", "+2AA-"), ("unicode_escape", r"\ud800")],
)
@pytest.mark.parametrize("data", [picture(), b"no picture"], ids=["good", "corrupt"])
def test_a_charset_that_no_name_survives_harms_nobody(
    client: httpx.Client, charset: str, name: str, data: bytes
) -> None:
    head = f'--B\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    body = head.encode() + data + b"\r\n--B--\r\n"
    type_ = f"multipart/form-data; charset={charset}; boundary=B"
    response = client.post("/predict", content=body, headers={"Content-Type": type_})
    assert response.status_code in {200, 422}
    if response.status_code == 422:
        problem_of(response, 422, "unreadable-picture")


# Before there is anything to answer with.


def test_without_an_ensemble_there_is_no_answer(client_of_nothing: httpx.Client) -> None:
    client = client_of_nothing
    for response in (
        client.post("/predict", files=parts(picture())),
        client.get("/classes"),
        client.get("/readyz"),
    ):
        assert "no ensemble" in problem_of(response, 503, "no-ensemble")["detail"]
    assert client.get("/healthz").json() == {"status": "alive"}


# Every other path.


@pytest.mark.parametrize(
    ("method", "path", "status", "type_"),
    [
        ("GET", "/nothing", 404, "no-such-path"),
        ("GET", "/predict", 405, "method-not-allowed"),
        ("POST", "/classes", 405, "method-not-allowed"),
        ("DELETE", "/ensembles/serving", 405, "method-not-allowed"),
    ],
)
def test_paths_and_methods_that_are_not_there_are_problems_too(
    client: httpx.Client, method: str, path: str, status: int, type_: str
) -> None:
    response = client.request(method, path)
    problem_of(response, status, type_)
    assert ("allow" in response.headers) == (status == 405)


@pytest.mark.parametrize(
    ("method", "path", "methods"),
    [
        ("PUT", f"/jobs/{'0' * 32}", {"GET", "DELETE"}),
        ("OPTIONS", "/jobs", {"GET"}),
        ("GET", "/predict", {"POST"}),
        ("TRACE", "/healthz", {"GET"}),
        ("DELETE", "/docs", {"GET"}),
    ],
)
def test_all_methods_that_a_path_takes_are_told(
    client: httpx.Client, method: str, path: str, methods: set[str]
) -> None:
    response = client.request(method, path)
    problem_of(response, 405, "method-not-allowed")
    assert set(response.headers["allow"].split(", ")) == methods
