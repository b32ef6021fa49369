"""Multipart bodies made to do harm: refused at once, or read as far as they are pictures."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from models.store import Store
from tests.hostile.memory import resident_bytes
from tests.service import ask, picture, problem_of, running, same_answer, settings_for
from tests.sockets import head, send
from tests.tiny import publish

FORM = "multipart/form-data; boundary=x"
LAST = b"\r\n--x--\r\n"
PICTURE = picture()


def part(name: str = 'name="file"; filename="a.png"', data: bytes = PICTURE) -> bytes:
    return f"--x\r\nContent-Disposition: form-data; {name}\r\n\r\n".encode() + data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("multipart")


@pytest.fixture(scope="module")
def client(folder: Path, redis_url: str) -> Iterator[httpx.Client]:
    store = Store(folder / "store")
    store.serve(publish(store).id)
    with running(settings_for(folder, redis_url, max_receive_seconds=2.0)) as client:
        yield client


@pytest.fixture(autouse=True)
def others_are_answered(client: httpx.Client) -> Iterator[None]:
    """Ask politely all the while."""
    expected = ask(client, PICTURE)
    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(lambda: [ask(client, PICTURE) for _ in range(5)])
        yield
    assert all(same_answer(answer, expected) for answer in beside.result())


def post(client: httpx.Client, body: bytes, type_: str = FORM) -> httpx.Response:
    started = time.perf_counter()
    response = client.post("/predict", content=body, headers={"Content-Type": type_})
    assert time.perf_counter() - started < 10
    return response


NESTED = (
    b"--x\r\nContent-Type: multipart/mixed; boundary=y\r\n"
    b'Content-Disposition: form-data; name="file"\r\n\r\n--y\r\n\r\n' + PICTURE + b"\r\n--y--"
)
REFUSED = {
    "thousands of parts": (part() + b"\r\n") * 5000,
    "thousands of empty parts": (part(data=b"") + b"\r\n") * 50_000,
    "thousands of fields": (part('name="file"', b"a") + b"\r\n") * 50_000,
    "thousands of headers": b"--x\r\n" + b"A: b\r\n" * 100_000 + b"\r\n",
    "a header without end": b"--x\r\nContent-Disposition: " + b"a" * 2**20,
    "a name without end": b"--x\r\nContent-Disposition: form-data; name=" + b"a" * 2**20,
    "a header's name without end": b"--x\r\n" + b"a" * 2**20,
    "thousands of parameters": part('name="file"; ' + "; ".join(f'a{n}="b"' for n in range(900))),
    "a name that goes on": part("; ".join(f'name*{n}="file"' for n in range(90))),
    "a field of megabytes": part('name="file"', bytes(2 * 2**20)),
    "nested": NESTED,
    "line feeds before it": b"\r\n" * 2**20 + b"-",
    "boundaries and nothing else": b"--x\r\n" * 100_000,
    "almost boundaries": b"--" * 2**19,
    "an end and nothing else": b"--x--",
    "two ends": LAST + part() + LAST,
    "two headers of the same name": part('name="file"\r\nContent-Disposition: form-data'),
    "a null in the name": part('name="fi\0le"; filename="a"'),
    "no name": part('filename="a"'),
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED)
def test_it_is_refused_at_once(client: httpx.Client, body: bytes) -> None:
    problem = problem_of(post(client, body + LAST), 422, "unreadable-picture")
    assert len(problem["detail"]) < 20_000


ODD = {
    "text around it": b"\r\n" + part() + LAST + b"and so on" * 1000,
    "a name of kilobytes": part(f'name="file"; filename="{"a" * 3000}"') + LAST,
    "a name with a path": part('name="file"; filename="../../etc/passwd"') + LAST,
    "a name with a null": part('name="file"; filename="a\0b.png"') + LAST,
    "a name in quotes in quotes": part(r'name="file"; filename="a\"b\\.png"') + LAST,
    "a name twice": part('name="other"; name="file"; filename="a"') + LAST,
    "another type": part('name="file"; filename="a.html"\r\nContent-Type: text/html') + LAST,
    "another encoding": part('name="file"; filename="a"\r\nContent-Transfer-Encoding: base64')
    + LAST,
}


@pytest.mark.parametrize("body", ODD.values(), ids=ODD)
def test_what_is_only_odd_is_answered_or_refused(client: httpx.Client, body: bytes) -> None:
    response = post(client, body)
    if response.status_code != 200:
        problem_of(response, 422, "unreadable-picture")
    assert "/etc" not in response.headers.get("content-disposition", "")


BOUNDARIES = [
    "",
    "boundary",
    "boundary=",
    'boundary="',
    'boundary=""',
    "boundary=" + "x" * 257,
    "boundary=" + "x" * 60_000,
    "boundary=\xff",
    "boundary=x; boundary=y",
    "boundary*0=x; boundary*1=y",
    "boundary*=utf-8''x",
    "charset=" + "a" * 60_000,
    "charset=utf-8\\",
    "; " * 20_000,
]


@pytest.mark.parametrize("parameters", BOUNDARIES, ids=lambda text: repr(text)[:24])
def test_a_boundary_that_is_none_is_refused(client: httpx.Client, parameters: str) -> None:
    type_ = f"multipart/form-data; {parameters}".rstrip().encode("latin-1")
    response = client.post("/predict", content=part() + LAST, headers={b"Content-Type": type_})
    if response.status_code != 200:  # of two boundaries one is taken
        problem_of(response, 422, "unreadable-picture")


def test_a_body_that_is_shorter_than_it_says_never_becomes_a_request(client: httpx.Client) -> None:
    body = part() + LAST
    told = send(client, head(Content_Type=FORM, Content_Length=len(body) + 10) + body)
    assert told.status == 408


def test_a_body_that_is_longer_than_it_says_is_cut(client: httpx.Client) -> None:
    body = part() + LAST
    told = send(client, head(Content_Type=FORM, Content_Length=len(body) - 10) + body)
    assert told.status in {400, 422}


def test_chunks_of_a_byte_are_put_together(client: httpx.Client) -> None:
    body = part() + LAST
    chunks = b"".join(b"1;%s\r\n%c\r\n" % (b"a" * 20, byte) for byte in body) + b"0\r\n\r\n"
    told = send(client, head(Content_Type=FORM, Transfer_Encoding="chunked") + chunks)
    assert told.status == 200
    assert len(told.json["predictions"]) == 1


def test_what_is_refused_leaves_no_memory_behind(client: httpx.Client) -> None:
    large = part(data=bytes(9 * 2**20)) + b"\r\n" + part(data=bytes(9 * 2**20)) + LAST
    for _ in range(5):  # until the allocator has all it keeps at hand
        problem_of(post(client, large), 422, "unreadable-picture")
    before = resident_bytes()
    for _ in range(40):
        problem_of(post(client, large), 422, "unreadable-picture")
    # A process that keeps some of the allocator's freed pages is well below one body in two.
    assert resident_bytes() - before < 20 * len(large)
