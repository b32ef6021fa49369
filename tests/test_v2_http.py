"""The Open Inference Protocol over HTTP, asked by the client that Triton's users have."""

import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import torch
import tritonclient.http as triton

from models.ensemble import Ensemble
from models.store import Store
from tests.service import picture, running, settings_for
from tests.tensors import Images, images, stock_client, tensor, told
from tests.tiny import COLOURS, publish


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("v2")


@pytest.fixture(scope="module")
def ensemble(folder: Path) -> Ensemble:
    """Three members that serve."""
    store = Store(folder / "store")
    manifest = publish(store, members=3)
    store.serve(manifest.id)
    return store.load(manifest.id)


@pytest.fixture(scope="module")
def client(folder: Path, ensemble: Ensemble, redis_url: str) -> Iterator[httpx.Client]:
    assert ensemble  # is published before the service starts
    with running(settings_for(folder, redis_url)) as client:
        yield client


@pytest.fixture(scope="module")
def stock(client: httpx.Client) -> Iterator[triton.InferenceServerClient]:
    """Triton's client, with room for 16 requests at once."""
    with stock_client(client) as stock:
        yield stock


def members_say(ensemble: Ensemble, pictures: Images) -> npt.NDArray[np.float64]:
    """Return each member's own softmax, [m, n, k]."""
    inputs = ensemble.manifest.normalisation(torch.from_numpy(pictures).permute(0, 3, 1, 2))
    with torch.inference_mode():
        logits = torch.stack([member(inputs) for member in ensemble.members])
    return logits.double().softmax(dim=-1).numpy()


# What there is.


def test_the_server_is_live_and_ready_and_says_what_it_is(
    stock: triton.InferenceServerClient,
) -> None:
    assert stock.is_server_live()
    assert stock.is_server_ready()
    metadata = stock.get_server_metadata()
    assert metadata["name"] == "stillhouse"
    assert "binary_tensor_data" in metadata["extensions"]


@pytest.mark.parametrize("version", ["", "1"])
@pytest.mark.parametrize("by_id", [False, True])
def test_the_serving_ensemble_is_a_model_by_its_id_and_as_serving(
    stock: triton.InferenceServerClient, ensemble: Ensemble, version: str, by_id: bool
) -> None:
    name = ensemble.manifest.id if by_id else "serving"
    assert stock.is_model_ready(name, version)
    assert stock.get_model_metadata(name, version) == {
        "name": name,
        "versions": ["1"],
        "platform": "stillhouse_safetensors",
        "inputs": [{"name": "images", "datatype": "UINT8", "shape": [-1, 32, 32, 3]}],
        "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(COLOURS)]},
            {"name": "entropy", "datatype": "FP32", "shape": [-1]},
            {"name": "members_used", "datatype": "INT32", "shape": [-1]},
        ],
    }
    answer = stock.infer(name, [tensor(images(1))], version).get_response()
    assert (answer["model_name"], answer["model_version"]) == (name, "1")


def test_other_ensembles_do_not_answer(
    stock: triton.InferenceServerClient, folder: Path, ensemble: Ensemble
) -> None:
    other = publish(Store(folder / "store"), seed=1, members=2).id
    for name in (other, "nobody"):
        assert not stock.is_model_ready(name)
        for ask in (stock.get_model_metadata, lambda name: stock.infer(name, [tensor(images(1))])):
            why = told(partial(ask, name), 404)
            assert "only the ensemble that serves" in why
            assert ensemble.manifest.id in why


def test_other_versions_do_not_exist(stock: triton.InferenceServerClient) -> None:
    assert not stock.is_model_ready("serving", "2")
    assert "'2'" in told(lambda: stock.get_model_metadata("serving", "2"), 404)
    assert "'2'" in told(lambda: stock.infer("serving", [tensor(images(1))], "2"), 404)


def test_a_service_without_an_ensemble_is_live_and_not_ready(
    tmp_path: Path, redis_url: str
) -> None:
    store = Store(tmp_path / "store")
    manifest = publish(store)
    store.serve(manifest.id)
    store.files.delete(f"ensembles/{manifest.id}")
    with running(settings_for(tmp_path, redis_url)) as client, stock_client(client) as stock:
        assert stock.is_server_live()
        assert not stock.is_server_ready()
        assert not stock.is_model_ready("serving")
        why = told(lambda: stock.infer("serving", [tensor(images(1))]), 503)
        assert "No ensemble can answer yet" in why


# What is inferred.


@pytest.mark.parametrize("binary_outputs", [False, True])
@pytest.mark.parametrize("binary_inputs", [False, True])
def test_probabilities_are_the_average_of_the_members_own(
    stock: triton.InferenceServerClient,
    ensemble: Ensemble,
    binary_inputs: bool,
    binary_outputs: bool,
) -> None:
    pictures = images(5)
    names = ("members_used", "probabilities", "entropy")
    outputs = [triton.InferRequestedOutput(name, binary_data=binary_outputs) for name in names]
    inputs = [tensor(pictures, binary=binary_inputs)]
    result = stock.infer("serving", inputs, outputs=outputs, request_id="42")
    average = members_say(ensemble, pictures).mean(axis=0)
    np.testing.assert_allclose(result.as_numpy("probabilities"), average, atol=1e-6)
    entropies = -(average * np.log(average)).sum(axis=-1)
    np.testing.assert_allclose(result.as_numpy("entropy"), entropies, atol=1e-5)
    assert result.as_numpy("members_used").tolist() == [3] * 5
    assert result.as_numpy("members_used").dtype == np.int32
    assert result.as_numpy("probabilities").dtype == np.float32
    answer = result.get_response()
    assert answer["id"] == "42"
    assert [output["name"] for output in answer["outputs"]] == list(names)


def test_without_a_word_on_outputs_all_come(stock: triton.InferenceServerClient) -> None:
    result = stock.infer("serving", [tensor(images(2))])
    assert result.as_numpy("probabilities").shape == (2, len(COLOURS))
    assert result.as_numpy("entropy").shape == result.as_numpy("members_used").shape == (2,)


def test_an_answer_says_who_answered_and_how(
    stock: triton.InferenceServerClient, client: httpx.Client, ensemble: Ensemble
) -> None:
    same = client.post("/predict?mode=exact", files=[("file", ("a.png", picture()))]).json()
    result = stock.infer("serving", [tensor(images(1))], parameters={"mode": "exact"})
    parameters = result.get_response()["parameters"]
    assert parameters["ensemble"] == ensemble.manifest.id
    assert parameters == {key: same[key] for key in ("ensemble", "members", "engine", "mode")}


def test_sixteen_at_once_each_get_their_own_answer(
    stock: triton.InferenceServerClient, ensemble: Ensemble
) -> None:
    pictures = [images(1 + seed % 3, seed) for seed in range(16)]
    waiting = [stock.async_infer("serving", [tensor(each)]) for each in pictures]
    for each, request in zip(pictures, waiting, strict=True):
        found = request.get_result(timeout=60).as_numpy("probabilities")
        np.testing.assert_allclose(found, members_say(ensemble, each).mean(axis=0), atol=1e-6)


def test_the_example_of_the_documentation_works(client: httpx.Client) -> None:
    documentation = (Path(__file__).parent.parent / "docs" / "http.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", documentation, flags=re.DOTALL)
    address = f"{client.base_url.host}:{client.base_url.port}"
    names: dict[str, Any] = {}
    exec(example.replace("127.0.0.1:8000", address), names)  # noqa: S102  # our own page
    assert names["probabilities"].shape == (2, len(COLOURS))
