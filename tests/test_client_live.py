"""Every call of the client against the service as it runs, with a worker that trains."""

import io
import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest
import skimage
from PIL import Image

from app import __version__
from app.client import (
    AsyncStillhouse,
    Conflict,
    EpochFinished,
    Invalid,
    Missing,
    Picture,
    Progress,
    StatusChanged,
    Stillhouse,
)
from app.recipe_request import RecipeRequest
from app.schemas import Job
from models.archives import read_archive
from models.store import RELEASE_FOLDER, Store
from tests.launcher import Launcher
from tests.service import picture
from tests.tiny import COLOURS, RECIPE, write_dataset

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc"),
]

ROOT = Path(__file__).parents[1]
TINY = RECIPE.to_dict()


@pytest.fixture(scope="module")
def launcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    folder = tmp_path_factory.mktemp("live")
    write_dataset(folder / "data" / "noise", train=12, test=4)
    launcher = Launcher(folder / "store", folder / "data", STILLHOUSE_SWEEP_SECONDS="0.5")
    launcher.start()
    yield launcher
    launcher.stop()
    launcher.client.close()


@pytest.fixture(scope="module")
def client(launcher: Launcher) -> Iterator[Stillhouse]:
    with Stillhouse(launcher.address) as client:
        yield client


@pytest.fixture(scope="module")
def finished(client: Stillhouse) -> Job:
    """A job that has trained an ensemble, which serves."""
    job = client.wait(client.distill(TINY).id)
    assert job.ensemble is not None
    client.promote(job.ensemble)
    return job


def test_it_says_how_the_service_is(client: Stillhouse) -> None:
    assert client.health().status == "alive"
    assert client.ready().status == "ready"
    assert client.version() == __version__


def test_presets_and_what_a_recipe_would_take(client: Stillhouse) -> None:
    assert {preset.name for preset in client.presets().presets} == {"seed", "default", "strong"}
    plan = client.plan(RecipeRequest(dataset="noise", members=2), epochs=3, batch_size=16)
    assert (plan.recipe["members"], plan.recipe["epochs"]) == (2, 3)
    assert plan.pictures is not None
    assert plan.pictures.train + plan.pictures.validation == 48
    with pytest.raises(Invalid) as caught:
        client.plan(dataset="noise", batch_size=9000)
    assert [field.field for field in caught.value.fields] == ["batch_size"]


def test_a_job_from_its_recipe_to_its_ensemble(client: Stillhouse, finished: Job) -> None:
    assert finished.status == "succeeded"
    assert finished == client.job(finished.id)
    assert finished.ensemble is not None
    found = client.ensemble(finished.ensemble)
    assert found.classes == list(COLOURS)
    assert found.serving
    listed = client.ensembles()
    assert listed.serving == finished.ensemble
    assert finished.ensemble in {each.id for each in listed.ensembles}
    assert set(client.report(finished.ensemble)["curves"]) == {"member 0", "member 1"}
    with pytest.raises(Conflict) as caught:
        client.cancel(finished.id)
    assert caught.value.kind == "job-finished"


def test_following_tells_everything_once_in_order(client: Stillhouse, finished: Job) -> None:
    told = list(client.follow(finished.id))
    assert Counter(_epochs(told)) == Counter((n, e) for n in range(2) for e in (1, 2))
    assert [each.job.status for each in told if isinstance(each, StatusChanged)][-1] == "succeeded"
    assert isinstance(told[-1], StatusChanged)


def _epochs(told: list[Progress]) -> list[tuple[int, int]]:
    return [(each.index, each.epoch) for each in told if isinstance(each, EpochFinished)]


def test_pictures_in_every_form_have_the_same_answer(
    client: Stillhouse, finished: Job, tmp_path: Path
) -> None:
    file = tmp_path / "grün.png"
    file.write_bytes(picture())
    forms: dict[str, Picture] = {
        "grün.png": file,
        "picture-1": picture(),
        "picture-2": io.BytesIO(picture()),
        "picture-3.png": Image.open(io.BytesIO(picture())),
    }
    answer = client.predict(forms.values(), top_k=2, mode="exact", timeout_ms=60_000)
    assert answer.ensemble == finished.ensemble
    assert [each.filename for each in answer.predictions] == list(forms)
    one = client.predict(str(file), max_members=1).predictions[0]
    assert one.members_used == 1
    for each in answer.predictions:
        assert each.probabilities == pytest.approx(answer.predictions[0].probabilities, abs=1e-5)
        assert len(each.top_k) == 2
    with file.open("rb") as opened:
        assert client.predict(opened).predictions[0].filename == "grün.png"
    with pytest.raises(Invalid, match="picture-1") as caught:
        client.predict([picture(), b"no picture"])
    assert caught.value.kind == "unreadable-picture"
    with pytest.raises(FileNotFoundError):
        client.predict(tmp_path / "none.png")
    with pytest.raises(TypeError):
        client.predict([3])  # type: ignore[list-item]  # on purpose


def test_promotion_and_rollback_are_the_same_call(client: Stillhouse, finished: Job) -> None:
    assert finished.ensemble is not None
    release = next(e.id for e in client.ensembles().ensembles if e.id != finished.ensemble)
    assert client.promote(release).previous == finished.ensemble
    assert client.classes().ensemble == release
    assert client.promote(finished.ensemble).previous == release
    with pytest.raises(Missing):
        client.promote("nothing")


def test_the_same_calls_are_awaited(launcher: Launcher, finished: Job) -> None:
    async def ask() -> None:
        async with AsyncStillhouse(launcher.address) as client:
            assert (await client.classes()).ensemble == finished.ensemble
            job = await client.distill(TINY, name="awaited", seed=3)
            assert (await client.wait(job.id)).status == "succeeded"
            listed = [each.id async for each in client.jobs("succeeded")]
            assert listed[:2] == [job.id, finished.id]

    anyio.run(ask)


def test_jobs_of_all_pages_are_listed_and_a_queued_one_can_be_cancelled(
    client: Stillhouse, finished: Job
) -> None:
    long = client.distill(TINY, name="long", epochs=500)
    queued = [client.distill(TINY, name=f"queued-{number}").id for number in range(51)]
    listed = [job.id for job in client.jobs()]
    assert listed[:52] == [*reversed(queued), long.id]  # a page has fifty
    assert finished.id in listed
    for id_ in (*queued, long.id):
        client.cancel(id_)
    assert client.wait(queued[-1]).status == "cancelled"
    assert client.wait(long.id).status == "cancelled"


def test_following_survives_an_api_that_is_killed(launcher: Launcher, client: Stillhouse) -> None:
    told: list[Progress] = []
    id_ = client.distill(replace(RECIPE, name="killed", epochs=30).to_dict()).id
    for progress in client.follow(id_):
        told.append(progress)
        if len(_epochs(told)) == 3:
            launcher.kill("-m app ", parent="app.up")
    assert sorted(_epochs(told)) == [(n, e) for n in range(2) for e in range(1, 31)]
    assert isinstance(told[-1], StatusChanged)
    assert told[-1].job.status == "succeeded"


def test_an_ensemble_as_a_file_comes_back_as_it_was(
    client: Stillhouse, finished: Job, tmp_path: Path
) -> None:
    assert finished.ensemble is not None
    file = client.export(finished.ensemble, tmp_path)
    assert file == tmp_path / f"{finished.ensemble}.zip"
    assert client.import_(file).id == finished.ensemble
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    with pytest.raises(Invalid) as caught:
        client.import_(tmp_path / "bad.zip")
    assert caught.value.kind == "invalid-archive"
    with pytest.raises(Missing):
        client.export("nothing", tmp_path)
    with pytest.raises(FileNotFoundError):
        client.import_(tmp_path / "none.zip")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bad.zip", file.name]


def test_data_sets_are_listed_looked_into_and_sent_as_folder_and_zip(
    launcher: Launcher, client: Stillhouse, tmp_path: Path
) -> None:
    folder = write_dataset(tmp_path / "own", train=5, test=2)
    brought = client.upload_dataset("own", folder)
    assert (brought.kind, brought.pictures.train, brought.pictures.test) == ("archive", 20, 8)
    archive = shutil.make_archive(str(tmp_path / "zipped"), "zip", folder)

    async def bring() -> None:
        async with AsyncStillhouse(launcher.address) as awaited:
            assert (await awaited.upload_dataset("zipped", archive)).classes == brought.classes

    anyio.run(bring)
    listed = {each.name: each.kind for each in client.datasets().datasets}
    assert listed["noise"] == "folder"
    assert listed["own"] == listed["zipped"] == "archive"
    found = client.dataset("own", check=3)
    assert [each.label for each in found.classes] == list(COLOURS)
    assert found.checked.pictures == 3
    shown = client.dataset_picture("own", "red", split="test", index=1)
    with Image.open(io.BytesIO(shown)) as image:
        assert (image.format, image.size) == ("PNG", (32, 32))
    with pytest.raises(Conflict):
        client.upload_dataset("own", folder)
    with pytest.raises(Missing):
        client.dataset("none")


def test_the_examples_of_the_pages_do_what_they_say(
    launcher: Launcher, client: Stillhouse, tmp_path: Path
) -> None:
    client.upload_dataset("birds", write_dataset(tmp_path / "birds", train=12))
    shipped = Store(tmp_path / "empty", RELEASE_FOLDER)
    release = shipped.serving()
    assert release is not None
    (tmp_path / "release.zip").write_bytes(b"".join(read_archive(shipped, release)))
    client.import_(tmp_path / "release.zip")
    client.promote(release)
    for name in ("rocket.jpg", "coffee.png"):
        shutil.copy(Path(skimage.__file__).parent / "data" / name, tmp_path)

    def run(page: str) -> list[str]:
        (example,) = re.findall(r"```python\n(from app.client.*?)```", page, re.DOTALL)
        script = example.replace("http://127.0.0.1:8000", launcher.address)
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.splitlines()

    answers = run((ROOT / "README.md").read_text())
    told, agreement = zip(*(answer.rsplit(" ", 1) for answer in answers), strict=True)
    assert told == ("rocket.jpg rocket 89%", "coffee.png plate 27%")
    # In bfloat16, which some processors prefer, one member fewer takes the coffee for a plate.
    assert [*map(float, agreement)] == pytest.approx([1.0, 0.5], abs=0.11)
    *epochs, ensemble = run((ROOT / "docs" / "cli.md").read_text())
    assert [line.split()[:3] for line in epochs] == [["member", n, e] for n in "01" for e in "12"]
    assert client.ensemble(ensemble).dataset["name"] == "birds"


def test_an_own_client_of_httpx_is_left_open(launcher: Launcher) -> None:
    with Stillhouse(http=launcher.client) as client:
        assert client.health().status == "alive"
    assert not launcher.client.is_closed
