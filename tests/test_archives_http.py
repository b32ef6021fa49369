"""An ensemble leaves as one file, and comes in elsewhere bit for bit, or not at all."""

import io
import select
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from models.archives import open_archive, take_in
from models.ensemble import EnsembleManifest
from models.errors import Conflict
from models.store import Store
from tests.archives import archived, folder_of, reported, unzip, with_manifest, zipped
from tests.service import parts, picture, problem_of, running, settings_for
from tests.sockets import connection, head, reply, send
from tests.tiny import on_a_disk_of_64_kib, publish

ZIP = {"Content-Type": "application/zip"}


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A store in which an ensemble was published."""
    folder = tmp_path_factory.mktemp("elsewhere")
    return Store(folder / "store", release=folder / "release")


@pytest.fixture(scope="module")
def ensemble(elsewhere: Store) -> EnsembleManifest:
    return reported(elsewhere)


@pytest.fixture(scope="module")
def archive(elsewhere: Store, ensemble: EnsembleManifest) -> bytes:
    return archived(elsewhere, ensemble.id)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("here")


@pytest.fixture(scope="module")
def here(folder: Path) -> Store:
    """The store of the service."""
    return Store(folder / "store", release=folder / "release")


@pytest.fixture(scope="module")
def service(folder: Path, redis_url: str) -> Iterator[httpx.Client]:
    limits = {"max_ensemble_bytes": 4 * 2**20}
    with running(settings_for(folder, redis_url, **limits)) as client:
        yield client


@pytest.fixture
def client(service: httpx.Client, here: Store) -> httpx.Client:
    """The service, which has no ensembles of its own."""
    here.files.delete("ensembles")
    here.files.delete("serving.json")
    return service


def bring(client: httpx.Client, data: bytes) -> httpx.Response:
    return client.post("/ensembles", content=data, headers=ZIP)


def test_an_ensemble_goes_from_store_to_store_bit_for_bit(
    client: httpx.Client, here: Store, elsewhere: Store, ensemble: EnsembleManifest, archive: bytes
) -> None:
    response = bring(client, archive)
    assert response.status_code == 201, response.text
    assert response.headers["location"] == f"/ensembles/{ensemble.id}"
    (summary,) = [
        each for each in client.get("/ensembles").json()["ensembles"] if each["id"] == ensemble.id
    ]
    assert response.json() == summary
    assert folder_of(here, ensemble.id) == folder_of(elsewhere, ensemble.id)
    again = client.get(f"/ensembles/{ensemble.id}/archive")
    assert again.status_code == 200
    assert again.headers["content-type"] == "application/zip"
    assert again.headers["content-disposition"] == f'attachment; filename="{ensemble.id}.zip"'
    assert again.content == archive


def test_a_release_has_a_folder_for_each_member_and_goes_too(
    client: httpx.Client, here: Store, elsewhere: Store, ensemble: EnsembleManifest, tmp_path: Path
) -> None:
    elsewhere.export(ensemble.id, tmp_path, "release-1")
    released = Store(tmp_path / "store", release=tmp_path)
    assert bring(client, archived(released, "release-1")).status_code == 201
    assert len(here.load("release-1").members) == len(ensemble.members)


def test_an_archive_is_a_plain_zip_of_the_files(
    elsewhere: Store, ensemble: EnsembleManifest, archive: bytes
) -> None:
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert opened.testzip() is None
        assert {info.compress_type for info in opened.infolist()} == {zipfile.ZIP_STORED}
        assert opened.namelist()[0] == "manifest.json"
    assert unzip(archive) == folder_of(elsewhere, ensemble.id)


def test_what_was_packed_by_hand_is_taken_too(
    client: httpx.Client, here: Store, ensemble: EnsembleManifest, archive: bytes
) -> None:
    backwards = dict(reversed(unzip(archive).items()))
    assert bring(client, zipped(backwards, zipfile.ZIP_DEFLATED)).status_code == 201
    assert folder_of(here, ensemble.id) == backwards


def test_what_is_there_already_is_told_and_left(
    client: httpx.Client, here: Store, ensemble: EnsembleManifest, archive: bytes
) -> None:
    assert bring(client, archive).status_code == 201
    before = folder_of(here, ensemble.id)
    second = bring(client, archive)
    assert (second.status_code, second.json()["id"]) == (200, ensemble.id)
    other = with_manifest(unzip(archive), temperature=2.0)
    problem_of(bring(client, zipped(other)), 409, "conflict")
    assert folder_of(here, ensemble.id) == before


def test_an_import_does_not_serve_and_can_be_promoted(
    client: httpx.Client, here: Store, ensemble: EnsembleManifest, archive: bytes
) -> None:
    before = client.get("/ensembles").json()["serving"]
    assert bring(client, archive).json()["serving"] is False
    assert client.get("/ensembles").json()["serving"] == before != ensemble.id
    promoted = client.put("/ensembles/serving", json={"ensemble": ensemble.id})
    assert promoted.status_code == 200
    answer = client.post("/predict", files=parts(picture()))
    assert answer.json()["ensemble"] == ensemble.id
    assert here.serving() == ensemble.id


def test_of_several_at_once_one_is_the_first(
    client: httpx.Client, here: Store, ensemble: EnsembleManifest, archive: bytes
) -> None:
    with ThreadPoolExecutor(2) as pool:
        codes = list(pool.map(lambda _: bring(client, archive).status_code, range(2)))
    assert sorted(codes) == [200, 201]
    assert folder_of(here, ensemble.id) == unzip(archive)
    assert here.files.list("ensembles") == [ensemble.id]


def test_what_a_killed_publication_left_is_in_nobodys_way(
    client: httpx.Client, here: Store, ensemble: EnsembleManifest, archive: bytes
) -> None:
    here.files.write(f"ensembles/{ensemble.id}/member-00.safetensors", b"half of it")
    assert bring(client, archive).status_code == 201
    assert folder_of(here, ensemble.id) == unzip(archive)


def test_a_damaged_ensemble_is_not_given_away(client: httpx.Client, here: Store) -> None:
    manifest = publish(here, seed=5)
    Path(here.files.path(f"ensembles/{manifest.id}/member-01.safetensors")).write_bytes(b"damaged")
    response = client.get(f"/ensembles/{manifest.id}/archive")
    assert "member-01" in problem_of(response, 503, "corrupt-artefact")["detail"]
    problem_of(client.get("/ensembles/nobody/archive"), 404, "ensemble-not-found")


# The body.


def test_too_large_a_body_is_refused_as_soon_as_it_is_known(client: httpx.Client) -> None:
    declared = head(path="/ensembles", Content_Type="application/zip", Content_Length=2**40)
    assert send(client, declared).status == 413
    chunks = head(path="/ensembles", Content_Type="application/zip", Transfer_Encoding="chunked")
    chunk = b"100000\r\n" + bytes(2**20) + b"\r\n"
    assert send(client, chunks, *[chunk] * 8).status == 413


def test_what_unpacks_to_too_much_is_refused(client: httpx.Client, archive: bytes) -> None:
    bomb = zipped(unzip(archive) | {"zeros": bytes(2**23)}, zipfile.ZIP_DEFLATED)
    assert len(bomb) < 2**20
    told = problem_of(bring(client, bomb), 422, "invalid-archive")
    assert "bytes unpacked; at most 4,194,304" in told["detail"]


@pytest.mark.parametrize("media_type", ["application/json", "image/png", "", "zip"])
def test_another_media_type_is_refused(client: httpx.Client, media_type: str) -> None:
    response = client.post("/ensembles", content=b"x", headers={"Content-Type": media_type})
    problem_of(response, 415, "unsupported-media-type")


def test_an_archive_may_be_larger_than_a_recipe_and_others_not(
    client: httpx.Client, archive: bytes
) -> None:
    assert len(archive) > 2**16
    response = client.put("/ensembles/serving", content=archive, headers=ZIP)
    problem_of(response, 413, "request-too-large")


def test_only_two_are_received_at_once(client: httpx.Client, archive: bytes) -> None:
    begun = head(path="/ensembles", Content_Type="application/zip", Content_Length=len(archive))
    with connection(client) as one, connection(client) as two, connection(client) as three:
        for connected in (one, two, three):
            connected.sendall(begun + archive[:100_000])
        (refused, *_), _, _ = select.select([one, two, three], [], [], 60)
        assert reply(refused).status == 429
        let_in = [connected for connected in (one, two, three) if connected is not refused]
        for connected in let_in:
            connected.sendall(archive[100_000:])
        assert sorted(reply(connected).status for connected in let_in) == [200, 201]
    assert bring(client, b"").status_code == 422


# The disk, or what is used for one.


def test_a_store_that_is_no_folder_takes_it_too(
    ensemble: EnsembleManifest, archive: bytes, tmp_path: Path
) -> None:
    store = Store(f"memory://{tmp_path.name}", release=tmp_path / "release")
    arrival = open_archive(io.BytesIO(archive), 2**30)
    assert take_in(arrival, store)
    assert not take_in(arrival, store)
    assert archived(store, ensemble.id) == archive
    other = zipped(with_manifest(unzip(archive), temperature=2.0))
    with pytest.raises(Conflict):
        take_in(open_archive(io.BytesIO(other), 2**30), store)


FILL = """
from pathlib import Path
from models.archives import open_archive, take_in
from models.errors import StoreFull
from models.store import Store

store = Store({store!r}, release=Path("nowhere"))
with open({archive!r}, "rb") as file:
    try:
        take_in(open_archive(file, 2**30), store)
    except StoreFull as error:
        print("full", error)
print(store.ensembles(), store.files.list("ensembles"))
"""


def test_on_a_full_disk_an_ensemble_does_not_exist(tmp_path: Path, archive: bytes) -> None:
    (tmp_path / "archive.zip").write_bytes(archive)
    small = tmp_path / "small"
    script = FILL.format(store=str(small), archive=str(tmp_path / "archive.zip"))
    full, left = on_a_disk_of_64_kib(small, script).splitlines()
    assert full.startswith("full ")
    assert left == "[] []"
