"""Thousands of mutated pictures, decoded and sent; `make hostile` tries more of them."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.errors import InvalidPicture
from models.pictures import decode_picture
from tests.hostile.asking import ask_many
from tests.hostile.decoding import decode_many, fuzz
from tests.hostile.living import Living
from tests.hostile.memory import peak_bytes, resident_bytes
from tests.mutations import monsters, specimens
from tests.sockets import head, send

SEED = 20_260_101


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[Living]:
    folder = tmp_path_factory.mktemp("mutations")
    living = Living(folder, redis_url, STILLHOUSE_MAX_RECEIVE_SECONDS="2")
    living.start()
    try:
        yield living
    finally:
        living.client.close()
        living.stop()


@pytest.mark.parametrize("name", specimens())
def test_odd_pictures_are_pictures(name: str) -> None:
    assert decode_picture(specimens()[name], 16).shape == (16, 16, 3)


@pytest.mark.parametrize("name", monsters())
def test_monsters_are_refused(name: str) -> None:
    with pytest.raises(InvalidPicture):
        decode_picture(monsters()[name], 16)


def test_a_thousand_mutated_pictures_are_decoded_or_refused(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.hostile.decoding", "1000", str(SEED), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr  # negative where the decoder crashed
    *_, decoded, _, peak, _, _, findings = done.stdout.split()
    assert findings == "0"
    assert 100 < int(decoded) < 900
    assert int(peak) < 500  # MiB


def test_a_finding_is_told_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.hostile.decoding.LONGEST_SECONDS", -1.0)
    *_, run = decode_many(10, SEED, tmp_path)
    assert len(run.findings) == 10
    for finding in run.findings:
        assert Path(finding.split(": ")[0]).stat().st_size > 0


def test_a_fuzz_that_learns_finds_nothing(tmp_path: Path) -> None:
    tried, found = fuzz(3, SEED, tmp_path)
    assert tried > 1000
    assert found == ""
    (tmp_path / "replayed").write_bytes(specimens()["png"])
    command = [sys.executable, "-m", "tests.hostile.fuzzing", str(tmp_path / "replayed")]
    subprocess.run(command, check=True, capture_output=True)


def test_mutated_pictures_harm_no_good_one_beside_them(service: Living, tmp_path: Path) -> None:
    *_, run = ask_many(service.client, 400, SEED, tmp_path)
    assert run.findings == ()
    assert run.requests == 400
    assert run.good > 10
    assert service.process.poll() is None
    assert peak_bytes(service.process.pid) < 2 * 2**30


def test_the_real_server_waits_no_longer_than_it_is_told(service: Living) -> None:
    told = send(service.client, head(Content_Type="image/png", Content_Length=9) + b"a")
    assert told.status == 408
    assert b"within 2 s" in told.body


@pytest.mark.parametrize("declared", [False, True])
def test_a_raw_body_is_not_held_beyond_the_largest_picture(service: Living, declared: bool) -> None:
    pieces = [bytes(2**20)] * 40
    before = resident_bytes(service.process.pid)
    for _ in range(3):
        length = {"Content_Length": 40 * 2**20} if declared else {"Transfer_Encoding": "chunked"}
        first = head(Content_Type="image/png", **length)
        chunks = pieces if declared else [b"100000\r\n%s\r\n" % piece for piece in pieces]
        told = send(service.client, first, *chunks[:12])
        assert told.status == 413
    assert resident_bytes(service.process.pid) - before < 100 * 2**20
