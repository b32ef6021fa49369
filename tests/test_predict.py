"""POST /predict and what stands around it: pictures in, the members' average out."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from math import log
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from PIL import Image
from torch import Tensor

from models.ensemble import Ensemble
from models.pictures import decode_picture
from models.store import Store
from tests.service import parts, picture, problem_of, running, settings_for
from tests.tiny import COLOURS, publish

LIMITS = {
    "max_picture_bytes": 20_000,
    "max_picture_pixels": 10_000,
    "max_pictures_per_request": 20,
    "max_request_bytes": 100_000,
    "max_recipe_bytes": 5_000,
}


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
    with running(settings_for(folder, redis_url, **LIMITS)) as client:
        yield client


@pytest.fixture
def client_of_nothing(tmp_path: Path, redis_url: str) -> Iterator[httpx.Client]:
    """A service whose serving ensemble has been deleted, so that it has nothing to answer with."""
    store = Store(tmp_path / "store")
    manifest = publish(store)
    store.serve(manifest.id)
    store.files.delete(f"ensembles/{manifest.id}")
    with running(settings_for(tmp_path, redis_url)) as client:
        yield client


def ask(client: httpx.Client, *files: bytes | tuple[str, bytes], **query: Any) -> dict[str, Any]:
    response = client.post("/predict", files=parts(*files), params=query)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


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


# What is answered.


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
        }


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


# One bad input hurts only itself.


def test_a_corrupt_picture_fails_alone(client: httpx.Client) -> None:
    damaged = picture()[:200]
    bodies = [parts(picture(0), ("bad.png", damaged), picture(2))]
    bodies += [parts(picture(seed)) for seed in range(8)]
    with ThreadPoolExecutor(len(bodies)) as pool:
        bad, *good = pool.map(lambda files: client.post("/predict", files=files), bodies)
    problem = problem_of(bad, 422, "unreadable-picture")
    assert problem["detail"].startswith("picture 1 (bad.png): ")
    for seed, response in enumerate(good):
        assert response.status_code == 200
        assert response.json() == ask(client, picture(seed))


@pytest.mark.parametrize("type_", ["text/plain", "application/json", "image/tiff", "", None])
def test_other_types_are_refused(client: httpx.Client, type_: str | None) -> None:
    headers = {} if type_ is None else {"Content-Type": type_}
    response = client.post("/predict", content=picture(), headers=headers)
    assert "image/png" in problem_of(response, 415, "unsupported-picture")["detail"]


@pytest.mark.parametrize("multipart", [True, False])
def test_pictures_of_other_formats_are_refused_whatever_they_are_called(
    client: httpx.Client, multipart: bool
) -> None:
    file = picture(format="TIFF")
    response = (
        client.post("/predict", files=parts(picture(), ("a.png", file)))
        if multipart
        else client.post("/predict", content=file, headers={"Content-Type": "image/png"})
    )
    problem = problem_of(response, 415, "unsupported-picture")
    assert ("picture 1 (a.png)" if multipart else "picture 0") in problem["detail"]


@pytest.mark.parametrize("multipart", [True, False])
def test_a_picture_of_too_many_bytes_is_refused(client: httpx.Client, multipart: bool) -> None:
    file = picture(size=(90, 90))
    assert len(file) > LIMITS["max_picture_bytes"]
    response = (
        client.post("/predict", files=parts(picture(), ("large.png", file)))
        if multipart
        else client.post("/predict", content=file, headers={"Content-Type": "image/png"})
    )
    problem = problem_of(response, 413, "picture-too-large")
    assert ("picture 1 (large.png)" if multipart else "picture 0") in problem["detail"]
    assert str(LIMITS["max_picture_bytes"]) in problem["detail"]


def test_a_picture_of_too_many_pixels_is_refused_before_it_is_decoded(client: httpx.Client) -> None:
    file = BytesIO()
    Image.new("L", (101, 100)).save(file, "PNG")
    damaged = file.getvalue().replace(b"IDAT", b"IDAT" + bytes(9))  # nothing to decode
    response = client.post("/predict", files=parts(("wide.png", damaged)))
    detail = problem_of(response, 413, "picture-too-large")["detail"]
    assert detail.startswith("picture 0 (wide.png): the picture has 101 x 100 pixels")


def test_too_many_pictures_are_refused(client: httpx.Client) -> None:
    assert len(ask(client, *[picture()] * 20)["predictions"]) == 20
    response = client.post("/predict", files=parts(*[picture()] * 21))
    assert "20" in problem_of(response, 422, "unreadable-picture")["detail"]


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("type_", ["image/png", "multipart/form-data; boundary=x"])
def test_a_body_of_too_many_bytes_is_refused(
    client: httpx.Client, type_: str, chunked: bool
) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    pieces = [head, *[bytes(10_000)] * 11, b"\r\n--x--\r\n"]
    response = client.post(
        "/predict",
        content=iter(pieces) if chunked else b"".join(pieces),
        headers={"Content-Type": type_},
    )
    detail = problem_of(response, 413, "request-too-large")["detail"]
    assert str(LIMITS["max_request_bytes"]) in detail


def test_other_calls_take_no_body_as_large_as_a_picture(client: httpx.Client) -> None:
    response = client.post("/jobs/distill", json={"name": "a" * LIMITS["max_recipe_bytes"]})
    detail = problem_of(response, 413, "request-too-large")["detail"]
    assert str(LIMITS["max_recipe_bytes"]) in detail


@pytest.mark.parametrize(
    "files",
    [
        [("picture", ("a.png", picture()))],
        [*parts(picture()), ("other", ("a.png", picture()))],
        [*parts(picture()), ("file", (None, b"no file, a field"))],
        [("file", ("a.png", b""))],
        [("file", ("", picture())), ("fil\u00e9", ("a", b""))],
    ],
    ids=["another name", "one more", "a field", "an empty file", "odd names"],
)
def test_other_parts_are_refused(client: httpx.Client, files: Any) -> None:
    problem_of(client.post("/predict", files=files), 422, "unreadable-picture")


FORM = "multipart/form-data"
HEAD = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n'
FIELD = b'--x\r\nContent-Disposition: form-data; name="file"\r\n'
DATA = b"\r\na\r\n--x--\r\n"


@pytest.mark.parametrize(
    ("type_", "body"),
    [
        pytest.param("image/png", b"", id="empty picture"),
        pytest.param(f"{FORM}; boundary=x", b"", id="empty form"),
        pytest.param(f"{FORM}; boundary=x", b"--x--\r\n", id="no parts"),
        pytest.param(f"{FORM}; boundary=x; charset=odd", HEAD + DATA, id="unknown charset"),
        pytest.param(f"{FORM}; boundary=x; charset=utf-16", HEAD + DATA, id="another charset"),
        pytest.param(f"{FORM}; boundary=x; charset=idna", HEAD + DATA, id="hardly a charset"),
        pytest.param(
            f"{FORM}; boundary=x", HEAD.replace(b"a.png", b"\xff\xfe") + DATA, id="name not UTF-8"
        ),
    ],
)
def test_bodies_without_a_picture_are_refused(
    client: httpx.Client, type_: str, body: bytes
) -> None:
    response = client.post("/predict", content=body, headers={"Content-Type": type_})
    problem_of(response, 422, "unreadable-picture")


@pytest.mark.parametrize(
    ("type_", "body"),
    [
        pytest.param(FORM, HEAD + DATA, id="no boundary named"),
        pytest.param(f"{FORM}; boundary=", HEAD + DATA, id="empty boundary"),
        pytest.param(f"{FORM}; boundary=" + "y" * 5000, HEAD + DATA, id="long boundary"),
        pytest.param(f"{FORM}; boundary=x", b"no boundary at all", id="no boundary"),
        pytest.param(f"{FORM}; boundary=y", HEAD + DATA, id="another boundary"),
        pytest.param(f"{FORM}; boundary=x", HEAD + b"\r\n" + picture(), id="cut short"),
        pytest.param(f"{FORM}; boundary=x", HEAD + DATA + HEAD, id="second part cut short"),
        pytest.param(f"{FORM}; boundary=x", HEAD + DATA.replace(b"x", b"y"), id="wrong end"),
        pytest.param(f"{FORM}; boundary=x", b"--x\r\nA: b\r\n" + DATA, id="part without name"),
        pytest.param(f"{FORM}; boundary=x", HEAD + b"Odd\r\n" + DATA, id="malformed header"),
        pytest.param(f"{FORM}; boundary=x", HEAD + b"A: b\r\n" * 1000 + DATA, id="many headers"),
        pytest.param(f"{FORM}; boundary=x", (FIELD + b"\r\na\r\n") * 2 + DATA, id="many fields"),
    ],
)
def test_malformed_bodies_are_refused(client: httpx.Client, type_: str, body: bytes) -> None:
    response = client.post("/predict", content=body, headers={"Content-Type": type_})
    problem_of(response, 422, "unreadable-picture")


# Before there is anything to answer with.


@pytest.mark.parametrize(
    ("charset", "name"),
    [("undefined", "a"), ("idna", "xn--a"), ("utf-7", "+2AA-"), ("unicode_escape", r"\ud800")],
)
@pytest.mark.parametrize("data", [picture(), b"no picture"], ids=["good", "corrupt"])
def test_a_charset_that_no_name_survives_harms_nobody(
    client: httpx.Client, charset: str, name: str, data: bytes
) -> None:
    head = f'--B\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    body = head.encode() + data + b"\r\n--B--\r\n"
    type_ = f"multipart/form-data; charset={charset}; boundary=B"
    response = client.post("/predict", content=body, headers={"Content-Type": type_})
    assert response.status_code in {200, 422}
    if response.status_code == 422:
        problem_of(response, 422, "unreadable-picture")


def test_without_an_ensemble_there_is_no_answer(client_of_nothing: httpx.Client) -> None:
    client = client_of_nothing
    for response in (
        client.post("/predict", files=parts(picture())),
        client.get("/classes"),
        client.get("/readyz"),
    ):
        assert "no ensemble" in problem_of(response, 503, "no-ensemble")["detail"]
    assert client.get("/healthz").json() == {"status": "alive"}


def test_a_service_with_an_ensemble_is_ready(client: httpx.Client) -> None:
    assert client.get("/healthz").json() == {"status": "alive"}
    assert client.get("/readyz").json() == {"status": "ready"}


# Every other path.


@pytest.mark.parametrize(
    ("method", "path", "status", "type_"),
    [
        ("GET", "/nothing", 404, "no-such-path"),
        ("GET", "/predict", 405, "method-not-allowed"),
        ("POST", "/classes", 405, "method-not-allowed"),
        ("DELETE", "/ensembles/serving", 405, "method-not-allowed"),
    ],
)
def test_paths_and_methods_that_are_not_there_are_problems_too(
    client: httpx.Client, method: str, path: str, status: int, type_: str
) -> None:
    response = client.request(method, path)
    problem_of(response, status, type_)
    assert ("allow" in response.headers) == (status == 405)


def test_the_root_leads_to_the_pages(client: httpx.Client) -> None:
    response = client.get("/")
    assert (response.status_code, response.headers["location"]) == (307, "/docs")
