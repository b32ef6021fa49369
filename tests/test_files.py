"""Files are written whole or not at all, and of several who create one, one wins."""

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Event

import fsspec
import pytest

from models.errors import StoreError
from models.files import Files
from tests.tiny import on_a_disk_of_64_kib


@pytest.fixture(params=["local", "memory"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Files]:
    if request.param == "local":
        yield Files(tmp_path / "store")
    else:
        url = f"memory://{uuid.uuid4().hex}"
        yield Files(url)
        fsspec.filesystem("memory").store.clear()


def test_what_was_written_is_read(files: Files) -> None:
    files.write("a/b/c.bin", b"\0first")
    files.write("a/b/c.bin", b"second")
    assert files.read("a/b/c.bin") == b"second"
    assert files.exists("a/b/c.bin")
    assert files.exists("a/b")


def test_what_is_missing_is_not_found(files: Files) -> None:
    assert not files.exists("a")
    with pytest.raises(FileNotFoundError):
        files.read("a")


def test_a_folder_is_listed_by_name(files: Files) -> None:
    for name in ("b.json", "a.json", "c/d.json"):
        files.write(f"folder/{name}", b"")
    assert files.list("folder") == ["a.json", "b.json", "c"]
    assert files.list("nowhere") == []


def test_files_written_by_others_since_are_listed(files: Files) -> None:
    assert files.list("folder") == []
    Files(files.path("") if files.is_local else f"memory:/{files}").write("folder/new", b"")
    assert files.list("folder") == ["new"]


def test_a_file_is_deleted_and_a_folder_with_all_it_holds(files: Files) -> None:
    for name in ("a/b", "c/d/e"):
        files.write(name, b"")
    for name in ("a/b", "c", "never was"):
        files.delete(name)
        assert not files.exists(name)


def test_a_file_is_created_once(files: Files) -> None:
    assert files.create("job/manifest.json", b"first")
    assert not files.create("job/manifest.json", b"second")
    assert files.read("job/manifest.json") == b"first"
    assert files.list("job") == ["manifest.json"]


def test_of_many_threads_that_create_a_file_exactly_one_wins(tmp_path: Path) -> None:
    files, all_ready = Files(tmp_path), Barrier(16)

    def create(name: str, who: int) -> bool:
        all_ready.wait()
        return files.create(name, b"%d" % who)

    with ThreadPoolExecutor(16) as pool:
        for race in range(10):
            won = list(pool.map(create, [f"race/{race}"] * 16, range(16)))
            assert won.count(True) == 1
            assert files.read(f"race/{race}") == b"%d" % won.index(True)
    assert not list(tmp_path.rglob("*.part"))


def test_a_reader_sees_the_old_file_or_the_new_one_and_never_half(tmp_path: Path) -> None:
    files, finished = Files(tmp_path), Event()
    versions = [bytes([letter]) * 2**20 for letter in b"ab"]
    files.write("file", versions[0])

    def read() -> int:
        seen = 0
        while not finished.is_set():
            assert files.read("file") in versions
            seen += 1
        return seen

    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read)
        for number in range(40):
            files.write("file", versions[number % 2])
        finished.set()
        assert reading.result() > 5


def test_what_a_crash_left_half_written_is_not_listed(tmp_path: Path) -> None:
    Files(tmp_path).write("folder/file", b"whole")
    (tmp_path / "folder/file.0123.part").write_bytes(b"ha")
    assert Files(tmp_path).list("folder") == ["file"]


@pytest.mark.parametrize("verb", ["write", "create"])
def test_a_file_where_a_folder_should_be_is_a_store_error(verb: str, tmp_path: Path) -> None:
    (tmp_path / "folder").write_text("a file")
    with pytest.raises(StoreError, match=r"folder/sub/file: cannot be written"):
        getattr(Files(tmp_path), verb)("folder/sub/file", b"x")
    assert (tmp_path / "folder").read_text() == "a file"
    assert Files(tmp_path).list("") == ["folder"]


def test_a_folder_where_a_file_should_be_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(StoreError, match="file: cannot be written: Is a directory"):
        Files(tmp_path).write("file", b"x")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


FULL_DISK = """
import os
from models.errors import StoreFull
from models.files import Files

files = Files({folder!r})
files.write("file", b"old")
for verb in (files.write, files.create):
    for size in (100_000, 70_000_000):
        try:
            verb("file" if verb == files.write else "new", bytes(size))
        except StoreFull as error:
            print(error)
print(files.read("file"), os.listdir({folder!r}))
"""


def test_a_full_disk_says_how_much_was_needed_and_keeps_the_old_file(tmp_path: Path) -> None:
    folder = tmp_path / "disk"
    said = on_a_disk_of_64_kib(folder, FULL_DISK.format(folder=str(folder))).splitlines()
    assert said[:4] == [
        f"{folder}/{name}: no space left for {size} bytes"
        for name in ("file", "new")
        for size in ("100,000", "70,000,000")
    ]
    assert said[4:] == ["b'old' ['file']"]
