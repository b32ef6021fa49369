"""The service as it runs for its users: real processes, killed at bad moments."""

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch

from models.pictures import decode_picture
from models.store import Store
from tests.launcher import Launcher, still_running
from tests.service import parts, picture, wait_until
from tests.sockets import connection, head, reply
from tests.tiny import COLOURS, RECIPE, go_on, ignore, write_dataset
from training.distill import distill

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds processes in /proc"),
]

TINY = RECIPE.to_dict()
"""A recipe that trains within seconds."""

LONG = replace(RECIPE, name="long", epochs=30)
"""The same, with time enough to be disturbed."""


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder / "noise", train=12, test=4)
    return folder


@pytest.fixture(scope="module")
def service(noise: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    launcher = Launcher(
        tmp_path_factory.mktemp("service") / "store",
        noise,
        STILLHOUSE_LEASE_SECONDS="6",
        STILLHOUSE_SWEEP_SECONDS="0.5",
    )
    launcher.start()
    yield launcher
    launcher.stop()
    launcher.client.close()


@pytest.fixture(scope="module")
def undisturbed(noise: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The id, and with it the digest of the weights, that the long job comes to by itself."""
    root = tmp_path_factory.mktemp("undisturbed")
    manifest = distill(LONG, noise, Store(root), "run", report=ignore, check=go_on)
    assert manifest is not None
    return manifest.id


def post(service: Launcher, recipe: dict[str, Any]) -> str:
    response = service.client.post("/jobs/distill", json=recipe)
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


def look(service: Launcher, id_: str) -> dict[str, Any]:
    response = service.client.get(f"/jobs/{id_}")
    assert response.status_code == 200, response.text
    job: dict[str, Any] = response.json()
    return job


def ended(service: Launcher, id_: str, seconds: float = 120) -> dict[str, Any]:
    """Wait for the end of a job and return it."""

    def job_if_ended() -> dict[str, Any] | None:
        job = look(service, id_)
        return job if job["finished_at"] else None

    job = wait_until(job_if_ended, seconds)
    assert job is not None
    return job


def wait_for_second_member(service: Launcher, id_: str) -> None:
    wait_until(lambda: look(service, id_)["members"][1]["epoch"] > 0)


def events_of(client: httpx.Client, id_: str) -> Iterator[tuple[str, dict[str, Any]]]:
    with client.stream("GET", f"/jobs/{id_}/events") as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        kind = ""
        for line in response.iter_lines():
            field, _, value = line.partition(": ")
            if field == "event":
                kind = value
            elif field == "data":
                yield kind, json.loads(value)


def test_the_first_lines_say_what_starts_and_where(service: Launcher) -> None:
    service.wait_for_line(f"(ready|up): {service.address} ")
    service.wait_for_line("worker ready")
    assert "starting Valkey" in service.lines[0]
    assert service.client.get("/healthz").status_code == 200


def test_from_a_recipe_to_answers(service: Launcher) -> None:
    recipe = {**TINY, "name": "first", "teacher": {"student": "resnet14", "epochs": 12}}
    id_ = post(service, recipe)
    events = list(events_of(service.client, id_))
    job = look(service, id_)

    # What was told while it ran, and at its end.
    epochs = [
        (data["role"], data["index"], data["epoch"]) for kind, data in events if kind == "epoch"
    ]
    assert epochs == [
        *[("teacher", 0, epoch) for epoch in range(1, 13)],
        *[("member", index, epoch) for index in (0, 1) for epoch in (1, 2)],
    ]
    states = [data["status"] for kind, data in events if kind == "status"]
    assert states == ["running", "succeeded"]
    assert events[-1] == ("status", job)
    assert job["progress"] == 1.0
    assert job["teacher"]["status"] == "succeeded"
    assert [member["status"] for member in job["members"]] == ["succeeded"] * 2
    assert job["metrics"].keys() == {"validation", "test"}
    assert job["promotion"].keys() == {"promoted", "reason"}

    # The ensemble that it made, promoted, answers.
    listed = service.client.get("/ensembles").json()["ensembles"]
    assert job["ensemble"] in [each["id"] for each in listed]
    promoted = service.client.put("/ensembles/serving", json={"ensemble": job["ensemble"]})
    assert promoted.status_code == 200
    files = [picture(seed) for seed in range(20)]
    answer = service.client.post("/predict", files=parts(*files)).json()
    assert answer["ensemble"] == job["ensemble"]
    found = torch.tensor([each["probabilities"] for each in answer["predictions"]]).double()
    assert found.sum(dim=-1).tolist() == pytest.approx([1.0] * 20, abs=1e-4)
    ensemble = Store(service.store).load(job["ensemble"])
    pictures = torch.stack([torch.from_numpy(decode_picture(file, 32)) for file in files])
    inputs = ensemble.manifest.normalisation(pictures.permute(0, 3, 1, 2))
    with torch.inference_mode():
        own = torch.stack([member(inputs).softmax(dim=-1) for member in ensemble.members])
    torch.testing.assert_close(found, own.double().mean(dim=0), atol=1e-6, rtol=0)
    assert service.client.get("/classes").json()["classes"] == list(COLOURS)


def test_a_request_can_be_followed_into_the_worker(service: Launcher) -> None:
    recipe = {**TINY, "name": "followed", "members": 1, "promote": "never"}
    named = {"X-Request-ID": "follow-me"}
    id_ = service.client.post("/jobs/distill", json=recipe, headers=named).json()["id"]
    assert ended(service, id_)["status"] == "succeeded"
    service.wait_for_line(f"job {id_} succeeded")
    mine = f"[request follow-me, job {id_}]"
    told = [line.strip() for line in service.lines if id_ in line]
    assert f"api | job {id_} is queued: it was accepted [request follow-me]" in told
    by_worker = [line for line in told if line.startswith("worker | ")]
    assert len([line for line in by_worker if f"job {id_}: member 0 " in line]) == 2
    assert any(line.startswith("worker | training followed: ") for line in by_worker)
    for line in by_worker:
        assert line.endswith(("[request follow-me]", mine))


def test_a_connection_is_left_open_for_longer_than_clients_keep_theirs(service: Launcher) -> None:
    with connection(service.client, seconds=6) as connected:  # httpx lets go after 5
        connected.sendall(head("GET", "/healthz"))
        assert reply(connected).status == 200
        with pytest.raises(TimeoutError):
            connected.recv(1)  # nothing comes, not even the end
        connected.sendall(head("GET", "/healthz"))
        assert reply(connected).status == 200


def test_a_running_job_tells_how_far_it_is_and_can_be_cancelled(service: Launcher) -> None:
    id_ = post(service, {**TINY, "epochs": 5000})

    def halfway() -> dict[str, Any] | None:
        job = look(service, id_)
        return job if job["members"][0]["epoch"] else None

    job = wait_until(halfway)
    assert job is not None
    assert job["status"] == "running"
    assert 0 < job["progress"] < 1
    assert job["eta_seconds"] > 0
    assert job["members"][0]["curve"][0]["epoch"] == 1
    asked = time.monotonic()
    assert service.client.delete(f"/jobs/{id_}").status_code == 202
    assert ended(service, id_, seconds=5)["status"] == "cancelled"
    assert time.monotonic() - asked < 5


def test_a_failed_job_says_what_to_change(service: Launcher, noise: Path) -> None:
    write_dataset(noise / "damaged", train=12)
    (noise / "damaged/train/red/3.png").write_bytes(b"no picture")  # seen only when it is decoded
    job = ended(service, post(service, {**TINY, "dataset": "damaged"}))
    assert job["status"] == "failed"
    assert job["error"]["type"] == "urn:stillhouse:problem:invalid-dataset"
    assert "damaged/train/red/3.png" in job["error"]["detail"]


def test_a_job_whose_process_is_killed_goes_on_where_it_was(
    service: Launcher, undisturbed: str
) -> None:
    id_ = post(service, LONG.to_dict())
    wait_for_second_member(service, id_)
    service.kill("app.worker", parent="app.worker")
    job = ended(service, id_)
    assert job["status"] == "succeeded"
    assert [member["attempts"] for member in job["members"]] == [1, 2]
    assert job["ensemble"] == undisturbed


@pytest.mark.parametrize(
    ("killed", "parent"), [("valkey-server", "app.broker"), ("app.broker", "app.up")]
)
def test_a_killed_valkey_is_started_again_and_no_job_is_lost(
    service: Launcher, killed: str, parent: str
) -> None:
    running = post(service, {**TINY, "epochs": 5000})
    wait_until(lambda: look(service, running)["status"] == "running")
    waiting = post(service, TINY)
    before = len(service.lines)
    service.kill(killed, parent)
    service.wait_for_line("starting valkey again", before)

    def answers() -> bool:
        return service.client.get(f"/jobs/{waiting}").status_code == 200

    wait_until(answers)
    assert service.client.delete(f"/jobs/{running}").status_code == 202
    assert ended(service, running)["status"] == "cancelled"
    assert ended(service, waiting)["status"] == "succeeded"


def test_asked_to_stop_it_leaves_nothing_running_and_the_next_start_goes_on(
    service: Launcher, undisturbed: str
) -> None:
    id_ = post(service, LONG.to_dict())
    wait_for_second_member(service, id_)
    family = service.processes()
    assert len(family) >= 5  # Valkey and its keeper, the worker and its child, the API
    assert service.stop() == 0
    assert still_running(family) == []
    printed = "".join(service.lines)
    assert f"job {id_} goes back to the queue" in printed
    assert "killing" not in printed
    service.start()
    job = ended(service, id_)
    assert job["status"] == "succeeded"
    assert job["ensemble"] == undisturbed
