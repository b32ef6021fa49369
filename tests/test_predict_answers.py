"""POST /predict and what stands around it: pictures in, the members' average out."""

from collections.abc import Iterator
from math import log
from pathlib import Path

import httpx
import pytest
import torch
from torch import Tensor

from app.schemas import Prediction, Predictions, TopClass, Uncertainty
from models.ensemble import Ensemble
from models.pictures import decode_picture
from models.store import Store
from tests.service import ask, parts, picture, problem_of, running, settings_for
from tests.tiny import COLOURS, publish


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("predict")


@pytest.fixture(scope="module")
def ensemble(folder: Path) -> Ensemble:
    """Three members that serve."""
    store = Store(folder / "store")
    manifest = publish(store, members=3, temperature=1.7)
    store.serve(manifest.id)
    return store.load(manifest.id)


@pytest.fixture(scope="module")
def client(folder: Path, ensemble: Ensemble, redis_url: str) -> Iterator[httpx.Client]:
    assert ensemble  # is published before the service starts
    with running(settings_for(folder, redis_url, engine_threads=2)) as client:
        yield client


def members_say(ensemble: Ensemble, *files: bytes) -> Tensor:
    """Return each member's own softmax, one member and one picture at a time, float64 [m, n, k]."""
    pictures = [torch.from_numpy(decode_picture(file, 32)).permute(2, 0, 1) for file in files]
    inputs = [ensemble.manifest.normalisation(picture[None]) for picture in pictures]
    with torch.inference_mode():
        return torch.stack(
            [
                torch.cat([member(input_) for input_ in inputs]).double().softmax(dim=-1)
                for member in ensemble.members
            ]
        )


def test_probabilities_are_the_average_of_the_members_own(
    client: httpx.Client, ensemble: Ensemble
) -> None:
    files = [picture(seed) for seed in range(5)]
    answer = ask(client, *files)
    expected = members_say(ensemble, *files).mean(dim=0)
    assert (answer["ensemble"], answer["members"]) == (ensemble.manifest.id, 3)
    found = torch.tensor([each["probabilities"] for each in answer["predictions"]]).double()
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert found.sum(dim=-1).tolist() == pytest.approx([1.0] * 5, abs=1e-4)
    for prediction, probabilities in zip(answer["predictions"], expected, strict=True):
        best = int(probabilities.argmax())
        assert prediction["class_id"] == best
        assert prediction["label"] == list(COLOURS)[best]
        assert prediction["probability"] == prediction["probabilities"][best]
        assert prediction["members_used"] == 3


def test_an_answer_has_the_fields_that_are_documented_and_no_others(client: httpx.Client) -> None:
    answer = ask(client, picture())
    (prediction,) = answer["predictions"]
    Predictions.model_validate(answer, strict=True)
    assert answer.keys() == Predictions.model_fields.keys()
    assert prediction.keys() == Prediction.model_fields.keys()
    assert prediction["uncertainty"].keys() == Uncertainty.model_fields.keys()
    assert prediction["top_k"][0].keys() == TopClass.model_fields.keys()


def test_parts_are_answered_in_order_with_their_names(client: httpx.Client) -> None:
    names = ["z.png", "a.png", "Käse 7.png", "a.png"]
    answer = ask(client, *[(name, picture(seed)) for seed, name in enumerate(names)])
    assert [each["filename"] for each in answer["predictions"]] == names
    alone = [ask(client, picture(seed))["predictions"][0] for seed in range(4)]
    for together, by_itself in zip(answer["predictions"], alone, strict=True):
        assert together["probabilities"] == pytest.approx(by_itself["probabilities"], abs=1e-6)


@pytest.mark.parametrize("format_", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_a_picture_may_be_the_whole_body(client: httpx.Client, format_: str) -> None:
    file = picture(format=format_, size=(40, 50))
    raw = client.post(
        "/predict", content=file, headers={"Content-Type": f"image/{format_.lower()}"}
    )
    (prediction,) = raw.json()["predictions"]
    assert prediction["filename"] is None
    (same,) = ask(client, file)["predictions"]
    assert prediction == {**same, "filename": None}


def test_the_type_of_a_raw_body_may_have_parameters_and_any_case(client: httpx.Client) -> None:
    headers = {"Content-Type": "Image/PNG; charset=binary"}
    assert client.post("/predict", content=picture(), headers=headers).status_code == 200


def test_the_likeliest_classes_are_named_first(client: httpx.Client) -> None:
    (prediction,) = ask(client, picture())["predictions"]
    top = prediction["top_k"]
    assert len(top) == len(COLOURS)  # 5 unless told, but there are only 4
    assert [each["probability"] for each in top] == sorted(
        prediction["probabilities"], reverse=True
    )
    assert [each["label"] for each in top] == [list(COLOURS)[each["class_id"]] for each in top]
    (short,) = ask(client, picture(), top_k=2)["predictions"]
    assert short["top_k"] == top[:2]
    assert short["probabilities"] == prediction["probabilities"]


@pytest.mark.parametrize("top_k", [0, -1, len(COLOURS) + 1, 10**30, "many", "1.5", ""])
def test_top_k_is_between_one_and_the_number_of_classes(
    client: httpx.Client, top_k: int | str
) -> None:
    response = client.post("/predict", files=parts(picture()), params={"top_k": top_k})
    problem = problem_of(response, 422, "invalid-request")
    assert [error["field"] for error in problem["errors"]] == ["top_k"]


@pytest.mark.parametrize(("max_members", "used"), [(1, 1), (2, 2), (3, 3), (10**30, 3)])
def test_fewer_members_may_be_asked(
    client: httpx.Client, ensemble: Ensemble, max_members: int, used: int
) -> None:
    answer = ask(client, picture(), max_members=max_members)
    (prediction,) = answer["predictions"]
    assert (answer["members"], prediction["members_used"]) == (3, used)
    expected = members_say(ensemble, picture())[:used].mean(dim=0)[0].tolist()
    assert prediction["probabilities"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("max_members", [0, -3, "all"])
def test_at_least_one_member_is_asked(client: httpx.Client, max_members: int | str) -> None:
    response = client.post("/predict", files=parts(picture()), params={"max_members": max_members})
    problem = problem_of(response, 422, "invalid-request")
    assert [error["field"] for error in problem["errors"]] == ["max_members"]


def test_doubt_is_told_in_nats(client: httpx.Client, ensemble: Ensemble) -> None:
    for seed in range(4):
        (prediction,) = ask(client, picture(seed))["predictions"]
        members = members_say(ensemble, picture(seed))[:, 0].tolist()
        average = [sum(of) / 3 for of in zip(*members, strict=True)]
        entropies = [-sum(p * log(p) for p in each) for each in (average, *members)]
        best = average.index(max(average))
        assert prediction["uncertainty"] == {
            "entropy": pytest.approx(entropies[0], abs=1e-5),
            "mutual_information": pytest.approx(entropies[0] - sum(entropies[1:]) / 3, abs=1e-5),
            "agreement": pytest.approx(sum(max(m) == m[best] for m in members) / 3),
            "outside": None,  # published without what tells
        }


def test_members_tell_their_own_votes_if_asked(client: httpx.Client, ensemble: Ensemble) -> None:
    for seed in range(4):
        (prediction,) = ask(client, picture(seed), votes="true")["predictions"]
        members = members_say(ensemble, picture(seed))[:, 0]
        assert prediction["votes"] == [
            {
                "label": list(COLOURS)[int(member.argmax())],
                "class_id": int(member.argmax()),
                "probability": pytest.approx(float(member.max()), abs=1e-5),
            }
            for member in members
        ]
        agreeing = [vote["label"] == prediction["label"] for vote in prediction["votes"]]
        assert prediction["uncertainty"]["agreement"] == pytest.approx(sum(agreeing) / 3)
    (few,) = ask(client, picture(), votes="true", max_members=2)["predictions"]
    assert len(few["votes"]) == 2


def test_votes_are_told_to_nobody_who_did_not_ask(client: httpx.Client) -> None:
    assert ask(client, picture())["predictions"][0]["votes"] is None
    assert ask(client, picture(), votes="false")["predictions"][0]["votes"] is None
    refused = client.post("/predict", files=parts(picture()), params={"votes": "some"})
    problem = problem_of(refused, 422, "invalid-request")
    assert [error["field"] for error in problem["errors"]] == ["votes"]


def test_the_calibrated_probability_is_that_of_the_scaled_logs(
    client: httpx.Client, ensemble: Ensemble
) -> None:
    (prediction,) = ask(client, picture())["predictions"]
    average = members_say(ensemble, picture()).mean(dim=0)[0].tolist()
    scaled = [p ** (1 / ensemble.manifest.temperature) for p in average]
    expected = max(scaled) / sum(scaled)
    assert prediction["calibrated_probability"] == pytest.approx(expected, abs=1e-5)


def test_classes_are_those_of_the_serving_ensemble(
    client: httpx.Client, ensemble: Ensemble
) -> None:
    expected = {"ensemble": ensemble.manifest.id, "classes": list(COLOURS)}
    assert client.get("/classes").json() == expected


def test_a_service_with_an_ensemble_is_ready(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}
