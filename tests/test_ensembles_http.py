"""What can be served, and which one serves: changed without a request that fails."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx
import pytest

from app.serving import Serving
from models.cores import Cores
from models.ensemble import EnsembleManifest
from models.errors import NoEnsemble
from models.store import Store
from tests.service import parts, picture, problem_of, running, same_answer, settings_for, wait_until
from tests.tiny import COLOURS, publish


@pytest.fixture
def first(store: Store) -> EnsembleManifest:
    """The ensemble that serves when the service starts."""
    manifest = publish(store, name="first")
    store.serve(manifest.id)
    return manifest


@pytest.fixture
def second(store: Store) -> EnsembleManifest:
    return publish(store, seed=1, name="second", members=3, created_at="2026-02-02T00:00:00+00:00")


@pytest.fixture
def client(
    tmp_path: Path, redis_url: str, first: EnsembleManifest, second: EnsembleManifest
) -> Iterator[httpx.Client]:
    assert first.id != second.id  # both are published before the service starts
    with running(settings_for(tmp_path, redis_url)) as client:
        yield client


def promote(client: httpx.Client, id_: str) -> httpx.Response:
    return client.put("/ensembles/serving", json={"ensemble": id_})


def who_answers(client: httpx.Client) -> str:
    response = client.post("/predict", files=parts(picture()))
    assert response.status_code == 200, response.text
    return str(response.json()["ensemble"])


def damage(store: Store, name: str, data: bytes = b"damaged") -> None:
    Path(store.files.path(name)).write_bytes(data)


def test_ensembles_are_listed_newest_first(
    client: httpx.Client, first: EnsembleManifest, second: EnsembleManifest
) -> None:
    listed = client.get("/ensembles").json()
    assert listed["serving"] == first.id
    # Others may be listed too: the releases that ship with the code.
    ours = [each for each in listed["ensembles"] if each["id"] in {first.id, second.id}]
    assert [(each["id"], each["members"], each["serving"]) for each in ours] == [
        (second.id, 3, False),
        (first.id, 2, True),
    ]
    del ours[0]["seconds"]
    assert ours[0] == {
        "id": second.id,
        "name": "second",
        "network": "resnet8",
        "members": 3,
        "classes": len(COLOURS),
        "dataset": second.dataset,
        "bytes": second.bytes,
        "serving": False,
        "val_accuracy": 0.5,
        "val_nll": None,
        "val_ece": None,
        "test_accuracy": None,
        "created_at": second.created_at,
    }


def test_a_list_tells_how_fast_those_are_that_were_loaded_here(
    client: httpx.Client, first: EnsembleManifest, second: EnsembleManifest
) -> None:
    engines = client.get(f"/ensembles/{first.id}").json()["engines"]
    listed = {each["id"]: each["seconds"] for each in client.get("/ensembles").json()["ensembles"]}
    assert listed[first.id] == engines["seconds"][engines["default"]]
    assert listed[second.id] is None


def test_an_ensemble_tells_everything(client: httpx.Client, first: EnsembleManifest) -> None:
    detail = client.get(f"/ensembles/{first.id}").json()
    assert (detail["id"], detail["name"], detail["serving"]) == (first.id, "first", True)
    assert detail["classes"] == list(COLOURS)
    assert [member["sha256"] for member in detail["members"]] == [
        member.sha256 for member in first.members
    ]
    assert detail["recipe"] == first.recipe
    assert detail["teachers"] == list(first.teachers)
    assert detail["metrics"] == first.metrics
    assert (detail["temperature"], detail["size"]) == (first.temperature, first.size)
    assert detail["normalisation"] == {
        "mean": list(first.normalisation.mean),
        "std": list(first.normalisation.std),
    }


def test_an_ensemble_has_a_report_if_one_was_made(
    client: httpx.Client, store: Store, first: EnsembleManifest
) -> None:
    report = {"curves": {"member 0": []}, "splits": {"validation": {"confusion": None}}}
    predictions = {"validation": store.predictions(first.id, "validation")}
    weights = [member.state_dict() for member in store.load(first.id).members]
    third = store.publish(replace(first, name="third"), weights, predictions, report)
    assert client.get(f"/ensembles/{third.id}/report").json() == report
    assert client.get(f"/ensembles/{third.id}").json()["report"]["file"] == "report.json"
    assert client.get(f"/ensembles/{first.id}").json()["report"] is None
    for id_ in (first.id, "nobody"):
        problem_of(client.get(f"/ensembles/{id_}/report"), 404, "ensemble-not-found")
    damage(store, f"ensembles/{third.id}/report.json")
    problem_of(client.get(f"/ensembles/{third.id}/report"), 503, "corrupt-artefact")


@pytest.mark.parametrize("id_", ["nobody", "%2e%2e", "..%2F..%2Fetc", "%00", "a" * 500, "-"])
def test_an_unknown_ensemble_is_not_found(client: httpx.Client, id_: str) -> None:
    response = client.get(f"/ensembles/{id_}")
    type_ = "no-such-path" if "%2F" in id_ else "ensemble-not-found"
    problem_of(response, 404, type_)


def test_promotion_and_rollback_are_the_same_call(
    client: httpx.Client, store: Store, first: EnsembleManifest, second: EnsembleManifest
) -> None:
    assert who_answers(client) == first.id
    for wanted, members, before in ((second, 3, first), (first, 2, second), (first, 2, first)):
        response = promote(client, wanted.id)
        expected = {"ensemble": wanted.id, "members": members, "previous": before.id}
        assert (response.status_code, response.json()) == (200, expected)
        assert who_answers(client) == wanted.id  # here at once
        assert store.serving() == wanted.id  # and in other processes soon


def test_only_what_exists_can_be_promoted(client: httpx.Client, first: EnsembleManifest) -> None:
    problem_of(promote(client, "nobody"), 404, "ensemble-not-found")
    assert who_answers(client) == first.id


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["ensemble"]),
        ({"ensemble": 3, "id": "a"}, ["ensemble", "id"]),
        ({"ensemble": "../first"}, ["ensemble"]),
        ({"ensemble": ""}, ["ensemble"]),
        ([], ["body"]),
        (None, ["body"]),
    ],
)
def test_a_malformed_wish_is_refused(client: httpx.Client, body: object, fields: list[str]) -> None:
    response = client.put("/ensembles/serving", json=body)
    problem = problem_of(response, 422, "invalid-request")
    assert sorted(error["field"] for error in problem["errors"]) == fields


def test_a_damaged_ensemble_is_not_promoted(
    client: httpx.Client, store: Store, first: EnsembleManifest, second: EnsembleManifest
) -> None:
    damage(store, f"ensembles/{second.id}/member-01.safetensors")
    problem = problem_of(promote(client, second.id), 503, "corrupt-artefact")
    assert "member-01.safetensors" in problem["detail"]
    assert store.serving() == first.id
    assert who_answers(client) == first.id


def test_another_process_promotes_and_no_request_fails(
    client: httpx.Client, store: Store, first: EnsembleManifest, second: EnsembleManifest
) -> None:
    files = [picture(seed) for seed in range(3)]
    by_id = {}
    for manifest in (second, first):
        promote(client, manifest.id)
        by_id[manifest.id] = client.post("/predict", files=parts(*files)).json()
    answers: list[httpx.Response] = []
    end = threading.Event()

    def keep_asking() -> None:
        while not end.is_set():
            answers.append(client.post("/predict", files=parts(*files)))

    def newest_is_of(id_: str) -> bool:
        return bool(answers) and answers[-1].json()["ensemble"] == id_

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(keep_asking) for _ in range(4)]
        try:
            for manifest in (second, first, second):
                store.serve(manifest.id)  # as another process does
                wait_until(partial(newest_is_of, manifest.id))
        finally:
            end.set()
        for each in asking:
            each.result()
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["ensemble"] for answer in answers} == {first.id, second.id}
    for answer in answers:  # each comes from one ensemble: that of its id
        assert same_answer(answer.json(), by_id[answer.json()["ensemble"]])


@pytest.mark.parametrize("data", [b"{", b"[]", b"{}", b"", b'{"ensemble": "../x"}', b"\xff"])
def test_a_damaged_choice_changes_nothing(
    client: httpx.Client,
    store: Store,
    first: EnsembleManifest,
    second: EnsembleManifest,
    data: bytes,
) -> None:
    damage(store, "serving.json", data)
    for _ in range(3):
        assert who_answers(client) == first.id
    assert client.get("/readyz").status_code == 200
    assert client.get("/ensembles").status_code in {200, 503}
    assert promote(client, second.id).status_code == 200  # and is mended by the next
    assert client.get("/ensembles").json()["serving"] == second.id


def test_a_damaged_promotion_from_outside_leaves_the_old_one_answering(
    client: httpx.Client, store: Store, first: EnsembleManifest, second: EnsembleManifest
) -> None:
    third = publish(store, seed=3, name="third")
    damage(store, f"ensembles/{third.id}/member-00.safetensors")
    store.serve(third.id)
    for _ in range(5):
        assert who_answers(client) == first.id
    store.serve(second.id)
    wait_until(lambda: who_answers(client) == second.id)


def test_a_store_without_ensembles_says_what_to_do(store: Store) -> None:
    serving = Serving(store, Cores(1))
    serving.follow()
    with pytest.raises(NoEnsemble, match="post a job to /jobs/distill"):
        serving.current()
    store.serve(publish(store).id)
    serving.follow()
    assert serving.current().manifest.name == "tiny"


def test_a_promotion_is_not_undone_by_who_follows(
    store: Store, first: EnsembleManifest, second: EnsembleManifest
) -> None:
    serving = Serving(store, Cores(1))
    end = threading.Event()

    def keep_following() -> None:
        while not end.is_set():
            serving.follow()

    with ThreadPoolExecutor(3) as pool:
        following = [pool.submit(keep_following) for _ in range(3)]
        try:
            for wanted in [second.id, first.id] * 5:
                serving.promote(wanted)
                assert serving.current().manifest.id == wanted
        finally:
            end.set()
        for each in following:
            each.result()
