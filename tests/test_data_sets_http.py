"""Data sets over HTTP: what there is, what it looks like, what will go wrong, and new ones."""

import io
import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.encoded import encode
from tests.service import accepted, problem_of, running, settings_for, wait_until
from tests.sockets import connection, head, reply, send
from tests.test_survey import date
from tests.tiny import write_dataset
from tests.trees import Tree, below, pack, png, tiny, unpack
from training.browsing import READING
from training.inspection import LOOKING
from training.one_at_a_time import OneAtATime

ZIP = {"Content-Type": "application/zip"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("service")


@pytest.fixture(scope="module")
def service(folder: Path, redis_url: str) -> Iterator[httpx.Client]:
    limits = {"max_dataset_bytes": 2**20, "max_picture_bytes": 100_000}
    with running(settings_for(folder, redis_url, **limits)) as client:
        yield client


@pytest.fixture
def data(folder: Path, tmp_path: Path) -> Path:
    """The folder of data sets, which is not there yet; what was there before is elsewhere now."""
    if (folder / "data").exists():
        (folder / "data").chmod(0o755)
        (folder / "data").rename(tmp_path / "before")
    return folder / "data"


@pytest.fixture
def client(service: httpx.Client, data: Path) -> httpx.Client:
    assert not data.exists()
    return service


def zipped(tree: Tree, path: Path) -> bytes:
    pack(tree, path)
    return path.read_bytes()


def bring(client: httpx.Client, data: bytes, name: str = "pets") -> httpx.Response:
    return client.put(f"/datasets/{name}", content=data, headers=ZIP)


def got(client: httpx.Client, path: str, **query: Any) -> Any:
    response = client.get(path, params=query)
    assert response.status_code == 200, response.text
    return response.json()


CIFAR100 = {
    "name": "cifar100",
    "kind": "builtin",
    "classes": 100,
    "pictures": {"train": 50_000, "val": 0, "test": 10_000},
}

# What there is.


def test_without_a_folder_there_is_what_can_be_downloaded(client: httpx.Client) -> None:
    assert got(client, "/datasets") == {"datasets": [CIFAR100], "problems": []}


def test_data_sets_are_listed_by_name_with_what_is_none(client: httpx.Client, data: Path) -> None:
    unpack(tiny(), data / "folder")
    pack(tiny(), data / "packed.zip")
    unpack(below("train/a", tiny()), data / "lonely")
    unpack(tiny(), data / "my pets")
    (data / "broken.zip").write_bytes(b"no zip")
    (data / "cifar-100-python").mkdir()
    (data / ".hidden").mkdir()
    (data / "README").write_text("notes")
    listed = got(client, "/datasets")
    pictures = {"train": 6, "val": 0, "test": 2}
    assert listed["datasets"] == [
        CIFAR100,
        {"name": "folder", "kind": "folder", "classes": 2, "pictures": pictures},
        {"name": "packed", "kind": "archive", "classes": 2, "pictures": pictures},
    ]
    problems = {each["name"]: each["reason"] for each in listed["problems"]}
    assert problems.keys() == {"broken", "lonely", "my pets"}
    assert problems["lonely"].startswith("lonely/train: has one class, 'a'")
    assert problems["broken"].startswith("broken.zip: is no zip archive")
    assert "no recipe can name it" in problems["my pets"]
    assert str(data) not in json.dumps(listed)


def test_names_that_are_no_text_are_told_all_the_same(client: httpx.Client, data: Path) -> None:
    unpack(tiny(), data / "pets")
    (data / "pets/train/a").rename(data / "pets/train/a\udcff")
    (data / "pets/test/a").rename(data / "pets/test/a\udcff")
    unpack(tiny(), data / "x\udcff")
    (problem,) = got(client, "/datasets")["problems"]
    assert problem["name"] == "x\\udcff"
    labels = [each["label"] for each in got(client, "/datasets/pets")["classes"]]
    assert labels == ["a\\udcff", "b"]
    shown = client.get("/datasets/pets/picture", params={"label": labels[0]})
    assert shown.status_code == 200


def test_a_data_set_tells_its_classes(client: httpx.Client, data: Path) -> None:
    unpack(tiny() | {"train/a/9.png": png(9)}, data / "pets")
    told = got(client, "/datasets/pets")
    assert told["name"] == "pets"
    assert told["classes"] == [
        {"label": "a", "pictures": {"train": 4, "val": 0, "test": 1}},
        {"label": "b", "pictures": {"train": 3, "val": 0, "test": 1}},
    ]
    assert told["pictures"] == {"train": 7, "val": 0, "test": 2}
    assert told["checked"] == {"pictures": 9, "of": 9}


def test_what_is_downloaded_later_is_counted_and_not_looked_at(client: httpx.Client) -> None:
    told = got(client, "/datasets/cifar100")
    assert (told["kind"], len(told["classes"]), told["warnings"]) == ("builtin", 100, [])
    assert told["checked"] == {"pictures": 0, "of": 60_000}
    response = client.get("/datasets/cifar100/picture", params={"label": "apple"})
    assert "downloaded" in problem_of(response, 404, "dataset-not-found")["detail"]


@pytest.mark.parametrize("name", ["nobody", "%2e%2e", "a%00", "a b", "x" * 65, "..%2F.."])
def test_what_is_not_there_is_not_found(client: httpx.Client, data: Path, name: str) -> None:
    data.mkdir()
    for path in (f"/datasets/{name}", f"/datasets/{name}/picture?label=a"):
        response = client.get(path)
        type_ = "no-such-path" if "%2F" in name else "dataset-not-found"
        problem_of(response, 404, type_)


def test_what_is_there_and_malformed_says_why(client: httpx.Client, data: Path) -> None:
    unpack(below("train/a", tiny()), data / "lonely")
    detail = problem_of(client.get("/datasets/lonely"), 422, "invalid-dataset")["detail"]
    assert detail.startswith("lonely/train: has one class")


# What will go wrong.


def warnings_of(client: httpx.Client, name: str = "pets", **query: Any) -> dict[str, Any]:
    return {each["kind"]: each for each in got(client, f"/datasets/{name}", **query)["warnings"]}


def test_a_data_set_in_which_all_is_well_is_warned_of_nothing(
    client: httpx.Client, data: Path
) -> None:
    write_dataset(data / "noise")
    assert warnings_of(client, "noise") == {}


def test_too_few_unbalanced_and_untested(client: httpx.Client, data: Path) -> None:
    many = {f"train/b/{number}.png": png(1000 + number) for number in range(30)}
    unpack(below("train/a", tiny()) | many, data / "pets")
    found = warnings_of(client)
    assert found.keys() == {"few", "unbalanced", "no-test"}
    assert found["few"]["detail"] == "fewer than 20 pictures to train on: a"
    assert found["unbalanced"]["detail"].startswith("b has 30 pictures to train on, a has 3")
    assert found["few"]["pictures"] == []


def test_unreadable_pictures_are_named(client: httpx.Client, data: Path) -> None:
    unpack(tiny() | {"train/a/1.png": b"x", "test/b/0.png": tiny()["test/b/0.png"][:60]},
           data / "pets")  # fmt: skip
    found = warnings_of(client)["unreadable"]
    assert found["detail"] == "2 of 8 pictures cannot be read: jobs would fail"
    assert sorted(found["pictures"]) == ["test/b/0.png", "train/a/1.png"]


def photo(seed: int) -> Image.Image:
    """Return a picture that is smooth, as photos are."""
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((64, 64), Image.Resampling.BICUBIC)


def test_the_same_picture_in_two_places_is_a_duplicate(client: httpx.Client, data: Path) -> None:
    tree = tiny()
    same = {"test/a/0.png": tree["train/a/0.png"], "train/b/0.png": tree["train/a/1.png"]}
    unpack(tree | same | {"train/a/7.png": tree["train/a/2.png"]}, data / "pets")
    found = warnings_of(client)["duplicate"]
    assert found["detail"] == "2 pictures are in more than one split or class"
    assert sorted(found["pictures"]) == [
        *("test/a/0.png", "train/a/0.png", "train/a/1.png", "train/b/0.png")
    ]
    assert "near-duplicate" not in warnings_of(client)


def test_nearly_the_same_picture_in_two_splits_is_told(client: httpx.Client, data: Path) -> None:
    files = {f"train/{label}/{n}.png": encode(photo(10 * k + n), "PNG")
             for k, label in enumerate("ab") for n in range(5)}  # fmt: skip
    files |= {f"test/{label}/0.png": encode(photo(100 + k), "PNG") for k, label in enumerate("ab")}
    darker = photo(13).point(lambda value: int(0.85 * value)).resize((50, 50))
    files["test/b/1.jpg"] = encode(darker, "JPEG", quality=60)
    unpack(files, data / "pets")
    found = warnings_of(client)["near-duplicate"]
    assert found["detail"].startswith("1 pairs of pictures in two splits are nearly the same")
    assert sorted(found["pictures"]) == ["test/b/1.jpg", "train/b/3.png"]


def test_a_warning_names_at_most_twenty(client: httpx.Client, data: Path) -> None:
    damaged = {f"train/a/x{number}.png": b"x" for number in range(50)}
    unpack(tiny() | damaged, data / "pets")
    found = warnings_of(client)["unreadable"]
    assert len(found["pictures"]) == 20
    assert found["detail"].startswith("50 of 58")


@pytest.mark.parametrize("check", [0, 1, 24, 5000])
def test_as_many_pictures_are_looked_at_as_were_asked_for(
    client: httpx.Client, data: Path, check: int
) -> None:
    write_dataset(data / "noise")
    told = got(client, "/datasets/noise", check=check)
    assert told["checked"] == {"pictures": min(check, 128), "of": 128}


@pytest.mark.parametrize("check", ["-1", "5001", "x", "1.5", ""])
def test_more_or_less_than_that_is_refused(client: httpx.Client, check: str) -> None:
    response = client.get("/datasets/cifar100", params={"check": check})
    (error,) = problem_of(response, 422, "invalid-request")["errors"]
    assert error["field"] == "check"


@contextmanager
def all_taken(turns: OneAtATime) -> Iterator[None]:
    """Have as many work on data sets, or wait to, as may."""
    ended = threading.Event()

    def wait() -> None:
        with turns.turn():
            ended.wait(60)

    with ThreadPoolExecutor(32) as pool:
        while not turns.is_full():
            pool.submit(wait)
            time.sleep(0.01)
        try:
            yield
        finally:
            ended.set()


def test_while_too_many_are_read_only_one_that_was_read_shows_pictures(
    client: httpx.Client, data: Path
) -> None:
    for name in ("pets", "others"):
        unpack(tiny(), data / name)
        date(data / name)
    first: dict[str, str | int] = {"label": "a", "index": 0}
    assert client.get("/datasets/pets/picture", params=first).status_code == 200
    with all_taken(READING):
        response = client.get("/datasets/others/picture", params=first)
        problem_of(response, 429, "too-busy")
        assert int(response.headers["retry-after"]) > 0
        assert client.get("/datasets/pets/picture", params=first).status_code == 200
    assert client.get("/datasets/others/picture", params=first).status_code == 200


def test_while_too_many_are_looked_through_another_one_is_not(
    client: httpx.Client, data: Path
) -> None:
    unpack(tiny(), data / "pets")
    with all_taken(LOOKING):
        response = client.get("/datasets/pets")
        problem_of(response, 429, "too-busy")
        assert int(response.headers["retry-after"]) > 0
        assert got(client, "/datasets/pets", check=0)["checked"] == {"pictures": 0, "of": 8}
    assert got(client, "/datasets/pets")["checked"] == {"pictures": 8, "of": 8}


def test_what_is_taken_in_then_is_so_without_a_look(
    client: httpx.Client, data: Path, tmp_path: Path
) -> None:
    with all_taken(LOOKING):
        response = bring(client, zipped(tiny(), tmp_path / "p.zip"))
    assert response.status_code == 201, response.text
    assert response.json()["checked"] == {"pictures": 0, "of": 8}
    assert (data / "pets.zip").exists()


def test_a_change_is_seen(client: httpx.Client, data: Path) -> None:
    unpack(tiny(), data / "pets")
    assert "unreadable" not in warnings_of(client)
    unpack({"train/a/x.png": b"x"}, data / "pets")
    assert warnings_of(client)["unreadable"]["pictures"] == ["train/a/x.png"]


# Pictures.


def shown(client: httpx.Client, name: str = "pets", **query: Any) -> Image.Image:
    response = client.get(f"/datasets/{name}/picture", params=query)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "image/png"
    return Image.open(io.BytesIO(response.content))


def test_a_small_picture_is_shown_as_it_is(client: httpx.Client, data: Path) -> None:
    unpack(tiny(), data / "pets")
    pack(tiny(), data / "packed.zip")
    for name in ("pets", "packed"):
        for index in range(3):
            picture = shown(client, name, label="b", index=index)
            original = Image.open(io.BytesIO(tiny()[f"train/b/{index}.png"]))
            assert picture.tobytes() == original.tobytes()
    assert shown(client, split="test", label="a").tobytes() == (
        Image.open(io.BytesIO(tiny()["test/a/0.png"])).tobytes()
    )


def test_a_large_one_is_shown_small(client: httpx.Client, data: Path) -> None:
    large = encode(photo(1).resize((640, 300)), "JPEG")
    unpack(tiny() | {"train/a/0.jpg": large}, data / "pets")
    assert shown(client, label="a", index=0).size == (128, 128)


@pytest.mark.parametrize(
    "query",
    [
        {"split": "val", "label": "a"},
        {"label": "c"},
        {"label": ""},
        {"label": "../a"},
        {"label": "a", "index": 3},
    ],
)
def test_a_picture_that_is_not_there_is_not_found(
    client: httpx.Client, data: Path, query: dict[str, Any]
) -> None:
    unpack(tiny(), data / "pets")
    problem_of(client.get("/datasets/pets/picture", params=query), 404, "dataset-not-found")


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({}, "label"),
        ({"label": "a", "split": "other"}, "split"),
        ({"label": "a", "index": -1}, "index"),
        ({"label": "a", "index": 10**30}, "index"),
    ],
)
def test_a_question_that_is_none_is_refused(
    client: httpx.Client, query: dict[str, Any], field: str
) -> None:
    response = client.get("/datasets/cifar100/picture", params=query)
    (error,) = problem_of(response, 422, "invalid-request")["errors"]
    assert error["field"] == field


def test_where_the_folder_is_stays_untold(client: httpx.Client, data: Path) -> None:
    data.mkdir()
    (data / "pets.zip").write_bytes(b"no zip")
    response = client.get("/datasets/pets/picture", params={"label": "a"})
    detail = problem_of(response, 422, "invalid-dataset")["detail"]
    assert detail.startswith("pets.zip")
    assert str(data) not in detail


def test_a_damaged_picture_is_said_to_be_one(client: httpx.Client, data: Path) -> None:
    unpack(tiny() | {"train/a/0.png": b"x"}, data / "pets")
    response = client.get("/datasets/pets/picture", params={"label": "a"})
    assert problem_of(response, 422, "unreadable-picture")["detail"].startswith("train/a/0.png: ")


# New ones.


def test_a_zip_becomes_a_data_set_that_a_job_can_name(
    client: httpx.Client, data: Path, tmp_path: Path
) -> None:
    packed = zipped({f"my pets/{name}": file for name, file in tiny().items()}, tmp_path / "p.zip")
    response = bring(client, packed)
    assert response.status_code == 201, response.text
    assert response.headers["location"] == "/datasets/pets"
    assert response.json() == got(client, "/datasets/pets")
    assert response.json()["kind"] == "archive"
    assert (data / "pets.zip").read_bytes() == packed
    assert (data / "pets.zip").stat().st_mode & 0o444 == 0o444
    assert [path.name for path in data.iterdir()] == ["pets.zip"]
    id_ = accepted(client, {"dataset": "pets", "batch_size": 2, "teacher": None})
    client.delete(f"/jobs/{id_}")


def test_a_name_that_is_taken_stays_with_whom_it_is(
    client: httpx.Client, data: Path, tmp_path: Path
) -> None:
    packed = zipped(tiny(), tmp_path / "p.zip")
    assert bring(client, packed).status_code == 201
    before = (data / "pets.zip").stat()
    unpack(tiny(), data / "folder")
    for name in ("pets", "folder", "cifar100"):
        problem_of(bring(client, packed, name), 409, "conflict")
    assert (data / "pets.zip").stat() == before


@pytest.mark.parametrize("name", ["-", ".hidden", "a b", "a%2Fb", "x" * 65, "ä"])
def test_a_name_that_no_recipe_could_have_is_refused(
    client: httpx.Client, data: Path, name: str
) -> None:
    response = bring(client, b"", name)
    assert response.status_code in {404, 422}
    assert not data.exists()


def test_a_data_set_may_be_larger_than_a_recipe(
    client: httpx.Client, data: Path, tmp_path: Path
) -> None:
    packed = zipped(tiny() | {"train/a/9.png": png(9, size=150)}, tmp_path / "p.zip")
    assert len(packed) > 2**16
    assert bring(client, packed).status_code == 201
    assert (data / "pets.zip").read_bytes() == packed


def test_who_takes_the_name_meanwhile_keeps_it(
    client: httpx.Client, data: Path, tmp_path: Path
) -> None:
    packed = zipped(tiny(), tmp_path / "p.zip")
    asked: dict[str, str | int] = {"Content_Type": "application/zip"}
    asked["Content_Length"] = len(packed)
    with connection(client) as connected:
        connected.sendall(head("PUT", "/datasets/pets", **asked) + packed[:100])
        wait_until(lambda: list(data.glob(".received-*")) if data.exists() else [])
        unpack(tiny(), data / "pets")
        connected.sendall(packed[100:])
        assert reply(connected).status == 409
    assert sorted(path.name for path in data.iterdir()) == ["pets"]


def test_a_folder_that_cannot_be_written_is_told(
    client: httpx.Client, data: Path, tmp_path: Path
) -> None:
    data.write_text("a file where the folder should be")
    problem_of(bring(client, zipped(tiny(), tmp_path / "p.zip")), 503, "store-unavailable")


def test_too_large_a_body_is_refused_before_it_is_read(client: httpx.Client) -> None:
    told = head("PUT", "/datasets/pets", Content_Type="application/zip", Content_Length=2**21)
    assert send(client, told).status == 413


def test_another_media_type_is_refused(client: httpx.Client) -> None:
    response = client.put("/datasets/pets", content=b"{}", headers={"Content-Type": "text/json"})
    problem_of(response, 415, "unsupported-media-type")
