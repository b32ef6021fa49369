"""The page where pictures are tried, as its script calls it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from app.pages.examples import pick
from app.schemas import ClassCounts, DataSetDetail, LookedAt, SplitCounts
from models.store import Store
from tests import sockets
from tests.service import picture, running, settings_for
from tests.sockets import head
from tests.tiny import COLOURS, doubt, publish, write_dataset

KEY, OTHER = "a-key-for-pictures-1234", "a-key-for-training-1234"
HERE = {"Sec-Fetch-Site": "same-origin", "X-Fragment": "1"}
ANSWER = "/pages/try/answer"


class Ids(NamedTuple):
    """Ensembles: one that knows what it sees, one that never does, one that cannot tell."""

    usual: str
    strange: str
    plain: str


def doubting(entropy: float) -> dict[str, Any]:
    """Return a doubt that takes what is less sure than this for something else."""
    found = doubt()
    found["outside"]["threshold"] = entropy
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("try")


@pytest.fixture(scope="module")
def ensembles(folder: Path) -> Ids:
    store = Store(folder / "store")
    found = Ids(
        publish(store, members=3, doubt=doubting(100.0)).id,
        publish(store, seed=1, members=2, doubt=doubting(0.0)).id,
        publish(store, seed=2, members=1).id,
    )
    store.serve(found.usual)
    return found


@pytest.fixture(scope="module")
def client(folder: Path, ensembles: Ids, redis_url: str) -> Iterator[httpx.Client]:
    assert ensembles  # are published before the service starts
    with running(settings_for(folder, redis_url, max_picture_bytes=20_000)) as client:
        yield client


def send(client: httpx.Client, body: bytes, **query: str) -> httpx.Response:
    return client.post(ANSWER, content=body, params={"name": "a.png", **query}, headers=HERE)


def test_an_answer_is_told_in_words_bars_votes_and_figures(client: httpx.Client) -> None:
    response = send(client, picture(), conformal="0.9")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/html")
    text = response.text
    label = client.post(
        "/predict", content=picture(), headers={"Content-Type": "image/png"}
    ).json()["predictions"][0]["label"]
    assert f"<h2>{label}" in text
    assert text.count('class="agrees"') + text.count('class="differs"') == 3
    assert text.count('class="bar-name"') == len(COLOURS)
    assert "90% of the time the right one is among" in text
    assert "Answered in" in text
    assert "<html" not in text


def test_the_command_does_the_same(client: httpx.Client) -> None:
    text = send(client, picture(), top_k="2", conformal="0.9").text
    address = str(client.base_url).rstrip("/")
    shown = (
        f"curl -F file=@a.png &#39;{address}/predict?top_k=2&amp;conformal=0.9&amp;votes=true&#39;"
    )
    assert shown in text


@contextmanager
def serving(client: httpx.Client, id_: str) -> Iterator[None]:
    before = client.get("/ensembles").json()["serving"]
    client.put("/ensembles/serving", json={"ensemble": id_})
    yield
    client.put("/ensembles/serving", json={"ensemble": before})


def test_where_pictures_show_something_else_it_is_said(
    client: httpx.Client, ensembles: Ids
) -> None:
    assert "Perhaps nothing it knows" not in send(client, picture()).text
    with serving(client, ensembles.strange):
        assert "Perhaps nothing it knows" in send(client, picture()).text


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b"", 422, ""),
        (b"no picture", 422, ""),
        (picture()[:200], 422, "cannot be read"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 100, 422, "cannot be read"),
    ],
)
def test_a_picture_that_cannot_be_used_is_told_in_its_place(
    client: httpx.Client, body: bytes, status: int, told: str
) -> None:
    response = send(client, body)
    assert response.status_code == status
    assert 'class="answer failed"' in response.text
    assert told in response.text
    assert "picture 0" not in response.text.lower()  # which of them it is, is seen


def test_a_picture_that_is_too_large_is_not_waited_for(client: httpx.Client) -> None:
    asked = head(path=ANSWER, Sec_Fetch_Site="same-origin", Content_Length=20_001)
    reply = sockets.send(client, asked)  # and not a byte of it
    assert reply.status == 413
    assert reply.json["type"].endswith("request-too-large")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"top_k": "0"}, "top_k"),
        ({"top_k": "999"}, "top_k"),  # more than there are classes, as the service finds
        ({"top_k": "<b>many</b>"}, "top_k"),
        ({"max_members": "-1"}, "max_members"),
        ({"mode": "best"}, "mode"),
        ({"conformal": "2"}, "conformal"),
        ({"conformal": "nan"}, "conformal"),
    ],
)
def test_what_is_wrong_about_the_options_is_told_beside_them_and_what_was_typed_stays(
    client: httpx.Client, query: dict[str, str], field: str
) -> None:
    response = send(client, picture(), **query)
    assert response.status_code == 422
    assert 'id="options"' in response.text
    assert f'id="{field}-error"' in response.text
    assert response.text.count('aria-invalid="true"') == 1
    assert "<b>" not in response.text
    if field in {"top_k", "max_members"}:
        typed = query[field].replace("<", "&lt;").replace(">", "&gt;")
        assert f'value="{typed}"' in response.text


@pytest.mark.parametrize(
    "name", ["", "<img src=x>.png", "a\nb\0c", "../../etc/passwd", "x" * 9000, "\ud83d", "\\"]
)
def test_any_name_will_do(client: httpx.Client, name: str) -> None:
    params = {"name": name.encode("utf-8", "surrogatepass")}
    response = client.post(ANSWER, content=picture(), params=params, headers=HERE)
    assert response.status_code == 200
    assert "<img" not in response.text
    assert "etc" not in response.text


def test_unknown_and_repeated_options_are_passed_over(client: httpx.Client) -> None:
    response = client.post(
        f"{ANSWER}?top_k=1&top_k=2&votes=no&color=red", content=picture(), headers=HERE
    )
    assert response.status_code == 200


def test_sets_are_offered_where_there_are_any(client: httpx.Client, ensembles: Ids) -> None:
    assert 'name="conformal"' in client.get("/").text
    with serving(client, ensembles.plain):
        text = client.get("/").text
        assert 'name="conformal"' not in text
        assert "One small network votes" in text


def test_examples_come_from_the_serving_ensembles_own_data(
    client: httpx.Client, folder: Path
) -> None:
    assert client.get("/pages/try/examples").text.strip() == '<div id="examples" hidden></div>'
    write_dataset(folder / "data" / "noise")
    text = client.get("/pages/try/examples").text
    addresses = re.findall(r'<img src="([^"]+)"', text)
    assert len(addresses) == len(COLOURS)
    for address in addresses:
        assert "split=test" in address  # of which no network has seen any
        response = client.get(address.replace("&amp;", "&"))
        assert response.headers["Content-Type"] == "image/png"
        assert send(client, response.content).status_code == 200


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("dataset=noise&label=nothing", 404),
        ("dataset=noise&label=..%2f..&split=val", 404),
        ("dataset=..%2fstore&label=a", 404),
        ("dataset=noise", 422),
        ("dataset=noise&label=a&split=x", 422),
    ],
)
def test_an_example_that_is_none_is_not_found(
    client: httpx.Client, query: str, status: int
) -> None:
    assert client.get(f"/pages/try/example?{query}").status_code == status


@pytest.mark.parametrize(("classes", "picked"), [(0, 0), (3, 3), (8, 8), (9, 8), (100, 8)])
def test_examples_lie_evenly_among_the_classes(classes: int, picked: int) -> None:
    counts = [
        ClassCounts(label=f"{n:03}", pictures=SplitCounts(train=1, val=n % 2))
        for n in range(classes)
    ]
    empty = ClassCounts(label="empty", pictures=SplitCounts())
    found = pick(
        DataSetDetail(
            name="noise",
            kind="folder",
            classes=[empty, *counts],
            pictures=SplitCounts(),
            warnings=[],
            checked=LookedAt(pictures=0, of=0),
        )
    )
    assert len({label for _, label in found}) == len(found) == picked
    assert all(split == ("val" if int(label) % 2 else "train") for split, label in found)


@pytest.mark.parametrize(("key", "status"), [("", 401), (OTHER, 403), ("x" * 30, 401)])
def test_who_may_not_ask_is_told_so_before_a_picture_is_read(
    guarded: httpx.Client, key: str, status: int
) -> None:
    cookie = {"Cookie": f"stillhouse-key={key}"} if key else {}
    asked = head(
        path=ANSWER, Sec_Fetch_Site="same-origin", X_Fragment=1, Content_Length=1000, **cookie
    )
    reply = sockets.send(guarded, asked)
    assert reply.status == status
    assert b'id="problem"' in reply.body


def test_who_may_ask_is_shown_a_command_without_their_key(guarded: httpx.Client) -> None:
    headers = {**HERE, "Cookie": f"stillhouse-key={KEY}"}
    response = guarded.post(ANSWER, content=picture(), headers=headers)
    assert response.status_code == 200
    assert "Authorization: Bearer $KEY" in response.text
    assert KEY not in response.text


@pytest.fixture(scope="module")
def guarded(folder: Path, ensembles: Ids, redis_url: str) -> Iterator[httpx.Client]:
    """A service that asks for keys."""
    assert ensembles
    keys = f"eyes:predict:{KEY} hands:train:{OTHER}"
    with running(settings_for(folder, redis_url, api_keys=keys)) as client:
        yield client


def test_examples_of_a_data_set_that_is_not_here_are_not_offered(
    tmp_path: Path, redis_url: str
) -> None:
    store = Store(tmp_path / "store")
    store.serve(publish(store, dataset={"name": "cifar100", "digest": "d"}).id)
    with running(settings_for(tmp_path, redis_url)) as client:
        response = client.get("/pages/try/examples", headers=HERE)
        assert response.status_code == 200
        assert "<img" not in response.text
