"""Zips that are no data set, or made to harm: refused with a reason, and nothing is left."""

import random
import stat
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.service import PROBLEM, problem_of, running, settings_for
from tests.test_archives_hostile import entries, entry, mutated, patched
from tests.trees import Tree, below, pack, png, tiny

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
def client(service: httpx.Client, folder: Path) -> Iterator[httpx.Client]:
    """The service; whatever was sent to it, its folder is empty in the end."""
    yield service
    assert list((folder / "data").iterdir()) == []


def zipped(tree: Tree, tmp_path: Path) -> bytes:
    pack(tree, tmp_path / "packed.zip")
    return (tmp_path / "packed.zip").read_bytes()


def refusal(client: httpx.Client, data: bytes, type_: str) -> str:
    response = client.put("/datasets/pets", content=data, headers=ZIP)
    return str(problem_of(response, 422, type_)["detail"])


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({}, "pets.zip: has no train folder"),
        ({"README": b"x"}, "pets.zip: has no train folder"),
        ({"train/a/1.png": png(1)}, "pets.zip/train: has one class, 'a'"),
        (tiny() | {"val/a/1.png": png(1)}, "pets.zip/val: must have the classes of train"),
        (tiny() | {"other/a/1.png": png(1)}, "pets.zip!/other/a/1.png: 'other' is none of"),
        (tiny() | {"train/a/b/1.png": png(1)}, "pets.zip!/train/a/b/1.png: must be"),
        (below("test", tiny()), "pets.zip: has no train folder"),
    ],
)
def test_what_is_no_data_set(client: httpx.Client, tmp_path: Path, tree: Tree, says: str) -> None:
    detail = refusal(client, zipped(tree, tmp_path), "invalid-dataset")
    assert detail.startswith(says)
    assert "received" not in detail


@pytest.mark.parametrize("data", [b"", b"no zip", b"PK\3\4" + bytes(100)])
def test_what_is_no_zip(client: httpx.Client, data: bytes) -> None:
    assert refusal(client, data, "invalid-archive")


@pytest.mark.parametrize(
    "name", ["train/../../a/1.png", "/train/a/1.png", "train//1.png", "train\\a\\1.png", "C:/a/b"]
)
def test_names_that_lead_elsewhere(client: httpx.Client, name: str) -> None:
    assert "no path" in refusal(client, entries(*tiny().items(), (name, b"x")), "invalid-archive")


def test_an_entry_without_a_name(client: httpx.Client) -> None:
    packed = entries(*tiny().items(), (zipfile.ZipInfo(""), b"x"))
    assert "'' is no path" in refusal(client, packed, "invalid-archive")


def test_links_and_encrypted_and_doubled_entries(client: httpx.Client, tmp_path: Path) -> None:
    link = entry("train/a/9.png", external_attr=(stat.S_IFLNK | 0o777) << 16)
    packed = entries(*tiny().items(), (link, b"/etc/passwd"))
    assert "neither a file" in refusal(client, packed, "invalid-archive")
    secret = patched(zipped(tiny(), tmp_path), "train/a/0.png", 8, "<H", 1)
    assert "encrypted" in refusal(client, secret, "invalid-archive")
    doubled = entries(*tiny().items(), ("train/a/0.png", b"x"))
    assert "two entries" in refusal(client, doubled, "invalid-archive")


def test_bombs(client: httpx.Client, tmp_path: Path) -> None:
    one = zipped(tiny() | {"train/a/9.png": bytes(100_001)}, tmp_path)
    assert "at most 100,000 of a picture" in refusal(client, one, "invalid-archive")
    many = zipped({f"train/{c}/{n}.png": bytes(90_000) for c in "ab" for n in range(6)}, tmp_path)
    assert len(many) < 10_000
    assert "bytes unpacked" in refusal(client, many, "invalid-archive")
    liar = zipped(tiny() | {"train/a/9.png": bytes(10**7)}, tmp_path)
    liar = patched(liar, "train/a/9.png", 24, "<I", 1000)
    assert "train/a/9.png" in refusal(client, liar, "invalid-archive")


def test_a_file_that_is_not_what_the_directory_says(client: httpx.Client) -> None:
    packed = bytearray(entries(*tiny().items()))
    at = packed.index(tiny()["train/b/1.png"]) + 50
    packed[at] ^= 1
    assert "CRC" in refusal(client, bytes(packed), "invalid-archive")


def test_mutations_are_taken_or_refused_and_nothing_else(
    client: httpx.Client, folder: Path, tmp_path: Path
) -> None:
    data, chance, codes = zipped(tiny(), tmp_path), random.Random(2), set()
    near = len(data) - data.index(b"PK\1\2")
    for _ in range(150):
        response = client.put("/datasets/x", content=mutated(data, chance, near), headers=ZIP)
        codes.add(response.status_code)
        if response.status_code == 201:
            (folder / "data/x.zip").unlink()
        else:
            assert response.headers["content-type"] == PROBLEM
    assert codes <= {201, 422}


def test_an_archive_of_bytes_that_zip_programs_write_and_few_read(client: httpx.Client) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        odd = entries(
            *tiny().items(), (entry("train/a/9.png", compress_type=zipfile.ZIP_LZMA), b"")
        )
    assert "neither stored nor deflated" in refusal(client, odd, "invalid-archive")
