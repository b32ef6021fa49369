"""The pages of data sets, as a browser without scripts and our own script call them."""

import html
import io
import re
from collections.abc import Iterator

import httpx
import pytest
from PIL import Image

from tests.archives import zipped
from tests.service import picture, running, settings_for
from tests.tiny import COLOURS, write_dataset
from tests.trees import tiny

PAGE = "/pages/data"
HERE = {"Sec-Fetch-Site": "same-origin"}
SCRIPT = HERE | {"X-Fragment": "1", "Content-Type": "application/zip"}
ODD = "<i>odd & even"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("data-pages")
    write_dataset(folder / "data" / "noise")
    odd = folder / "data" / "odd" / "train"
    for label in (ODD, "plain"):
        (odd / label).mkdir(parents=True)
        for number in range(3):
            (odd / label / f"{number}.png").write_bytes(picture(number))
    (odd / "plain" / "broken.png").write_bytes(b"no picture")
    (folder / "data" / "empty").mkdir()
    with running(settings_for(folder, redis_url, max_dataset_bytes=500_000)) as client:
        yield client


def send(client: httpx.Client, name: str, body: bytes) -> httpx.Response:
    return client.post(f"{PAGE}/upload", params={"name": name}, content=body, headers=SCRIPT)


def test_data_sets_are_listed_and_what_is_none_says_why(client: httpx.Client) -> None:
    text = client.get(PAGE).text
    assert "4 classes · 96 to learn from · 32 to test" in text
    (problem,) = client.get("/datasets").json()["problems"]
    assert "<b>empty</b>" in text
    assert html.escape(problem["reason"][1:].rstrip(".")) in text  # its first letter is a capital


def test_one_is_shown_class_by_class_with_pictures_of_each(client: httpx.Client) -> None:
    text = client.get(f"{PAGE}/noise").text
    for label in COLOURS:
        assert f"<b>{label}</b>" in text
    addresses = [html.unescape(found) for found in re.findall(r'<img src="([^"]*)"', text)]
    assert len(addresses) == 4 * len(COLOURS)
    shown = {client.get(address).content for address in addresses}
    assert len(shown) == len(addresses)  # no picture twice
    for data in shown:
        assert Image.open(io.BytesIO(data)).size == (32, 32)
    assert 'href="/pages/jobs/new?dataset=noise"' in text


def test_classes_of_any_name_are_shown_as_text_with_their_pictures(client: httpx.Client) -> None:
    text = client.get(f"{PAGE}/odd").text
    assert "<b>&lt;i&gt;odd &amp; even</b>" in text
    assert "<i>" not in text
    for address in re.findall(r'<img src="([^"]*)"', text):
        response = client.get(html.unescape(address))
        assert response.status_code in {200, 422}  # one of them is broken


def test_what_might_go_wrong_comes_once_and_names_the_pictures(client: httpx.Client) -> None:
    text = client.get(f"{PAGE}/odd/check").text
    assert text.count('id="warnings"') == 1
    assert "train/plain/broken.png" in text
    assert "event: end" in text
    for warning in client.get("/datasets/odd").json()["warnings"]:
        assert html.escape(warning["detail"][1:], quote=False)[:30] in text


def test_a_zip_becomes_a_data_set(client: httpx.Client) -> None:
    response = send(client, "sent", zipped(tiny()))
    assert response.status_code == 303
    assert response.headers["Location"] == f"{PAGE}/sent"
    assert "sent" in client.get(PAGE).text
    assert client.get(f"{PAGE}/sent").status_code == 200


@pytest.mark.parametrize(
    ("name", "body", "status", "says"),
    [
        ("", b"", 422, "no name"),
        ("..", b"", 422, "name"),
        ("../up", b"", 422, "name"),
        ("a b", b"", 422, "name"),
        ("noise", b"PK", 409, "noise"),
        ("other", b"PK", 422, "zip"),
        ("other", bytes(500_001), 413, "500000 bytes"),
    ],
)
def test_what_is_refused_is_told_in_words(
    client: httpx.Client, name: str, body: bytes, status: int, says: str
) -> None:
    response = send(client, name, body)
    assert response.status_code in {status, 404} if "/" in name else response.status_code == status
    assert 'role="alert"' in response.text
    if response.status_code == status:
        assert says in response.text


def test_other_sites_send_nothing(client: httpx.Client) -> None:
    response = client.post(f"{PAGE}/upload?name=x", headers={"Sec-Fetch-Site": "cross-site"})
    assert response.status_code == 403


def test_no_such_data_set_is_a_page_that_says_so(client: httpx.Client) -> None:
    for path in (f"{PAGE}/nothing", f"{PAGE}/noise/picture?label=nothing"):
        response = client.get(path)
        assert response.status_code == 404
        assert "<html" in response.text
