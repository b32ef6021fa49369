"""The pages of ensembles, as a browser without scripts and our own script call them."""

import html
import re
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from app.pages.ensemble_views import sort, view
from app.schemas import EnsembleDetail, EnsembleSummary
from models.store import Store
from tests.service import running, settings_for
from tests.tiny import RECIPE, doubt, go_on, ignore, publish, write_dataset
from training.distill import distill

HERE = {"Sec-Fetch-Site": "same-origin"}
PAGE = "/pages/ensembles"
ZIP = {"Content-Type": "application/zip"}


class Ids(NamedTuple):
    """Ensembles: one that was trained, with its report; one of which little is known."""

    full: str
    bare: str


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ensembles")


@pytest.fixture(scope="module")
def ids(folder: Path) -> Ids:
    write_dataset(folder / "data" / "noise")
    store = Store(folder / "store")
    full = distill(RECIPE, folder / "data", store, "run", report=ignore, check=go_on)
    assert full is not None
    bare = publish(store, doubt=doubt(), dataset={"name": '<i>"odd"', "digest": "d"})
    store.serve(bare.id)
    return Ids(full.id, bare.id)


@pytest.fixture(scope="module")
def client(folder: Path, ids: Ids, redis_url: str) -> Iterator[httpx.Client]:
    assert ids  # are published before the service starts
    settings = settings_for(folder, redis_url, max_ensemble_bytes=2_000_000)
    with running(settings) as client:
        yield client


def post(client: httpx.Client, path: str, **headers: str) -> httpx.Response:
    return client.post(path, headers=HERE | headers)


def test_all_are_listed_with_what_they_reach_and_the_serving_one_first(
    client: httpx.Client, ids: Ids
) -> None:
    text = client.get(PAGE).text
    assert text.index(ids.bare) < text.index(f"{PAGE}/{ids.full}")
    known = {each["id"]: each for each in client.get("/ensembles").json()["ensembles"]}
    full = known[ids.full]
    assert f"<dd>{full['test_accuracy']:.1%}</dd>" in text
    assert f"<dd>{full['val_nll']:.3f}</dd>" in text
    assert f"<dd>{full['val_ece']:.3f}</dd>" in text
    assert "&lt;i&gt;&#34;odd&#34;" in text
    assert "<i>" not in text


def test_figures_are_those_of_the_manifest(client: httpx.Client, ids: Ids) -> None:
    text = client.get(f"{PAGE}/{ids.full}").text
    test = client.get(f"/ensembles/{ids.full}").json()["metrics"]["test"]
    for row in ("members_mean", "pooled", "calibrated"):
        shown = [f"{test[row][name]:.1%}" for name in ("accuracy", "top5_accuracy")]
        shown += [f"{test[row][name]:.3f}" for name in ("nll", "ece")]
        assert '</td><td class="number">'.join(shown) in text
    assert 'id="by-members"' in text
    assert 'id="reliability"' in text
    assert 'id="confusion"' in text
    for label in ("blue", "green", "grey", "red"):
        assert f'<span class="bar-name">{label}</span>' in text


def test_what_is_not_known_is_said_or_left_out(client: httpx.Client, ids: Ids) -> None:
    text = client.get(f"{PAGE}/{ids.bare}").text
    assert "Right on 50.0% of validation pictures" in text
    assert 'id="reliability"' not in text
    assert "A set that is to hold the right class 90% of the time" in text
    assert "torch-float32" in text or "openvino-float32" in text  # it serves


def test_a_damaged_report_costs_the_page_its_charts_alone(
    client: httpx.Client, ids: Ids, folder: Path
) -> None:
    report = folder / "store" / "ensembles" / ids.full / "report.json"
    whole = report.read_bytes()
    report.write_bytes(whole[:-1])
    try:
        answer = client.get(f"{PAGE}/{ids.full}")
    finally:
        report.write_bytes(whole)
    assert answer.status_code == 200
    assert "Its report cannot be shown" in answer.text
    assert "report.json" in answer.text
    assert str(folder) not in answer.text  # who looks need not be who runs the machine
    assert 'id="reliability"' not in answer.text
    assert 'id="by-members"' in answer.text  # which the manifest knows
    assert "Its report cannot be shown" not in client.get(f"{PAGE}/{ids.full}").text


def test_a_recipe_and_where_it_comes_from_are_told(client: httpx.Client, ids: Ids) -> None:
    text = client.get(f"{PAGE}/{ids.full}").text
    detail = client.get(f"/ensembles/{ids.full}").json()
    for expected in ("/pages/data/noise", detail["dataset"]["digest"], "nobody"):
        assert expected in text
    for member in detail["members"]:
        assert member["sha256"] in text


def test_one_is_promoted_and_the_other_is_a_press_away(client: httpx.Client, ids: Ids) -> None:
    dialog = client.get(f"{PAGE}/{ids.full}").text
    assert 'data-opens="promote"' in dialog
    answer = post(client, f"{PAGE}/{ids.full}/promote")
    assert answer.status_code == 303
    text = client.get(answer.headers["Location"]).text
    assert client.get("/ensembles").json()["serving"] == ids.full
    assert "It answers now" in text
    assert f'action="{PAGE}/{ids.bare}/promote"' in text
    answer = post(client, f"{PAGE}/{ids.bare}/promote")
    assert client.get("/ensembles").json()["serving"] == ids.bare
    assert "Take that back" in client.get(answer.headers["Location"]).text
    again = post(client, f"{PAGE}/{ids.bare}/promote")
    assert "Take that back" not in client.get(again.headers["Location"]).text


def test_other_sites_promote_and_bring_in_nothing(client: httpx.Client, ids: Ids) -> None:
    for path in (f"{PAGE}/{ids.full}/promote", f"{PAGE}/import"):
        assert client.post(path, headers={"Sec-Fetch-Site": "cross-site"}).status_code == 403
    assert client.get("/ensembles").json()["serving"] == ids.bare


def test_an_archive_is_the_service_s_own_and_comes_back_in(client: httpx.Client, ids: Ids) -> None:
    response = client.get(f"{PAGE}/{ids.full}/archive")
    assert response.content == client.get(f"/ensembles/{ids.full}/archive").content
    assert response.headers["Content-Disposition"] == f'attachment; filename="{ids.full}.zip"'
    answer = client.post(f"{PAGE}/import", content=response.content, headers=HERE | ZIP)
    assert answer.status_code == 303
    assert f"{ids.full} is here" in client.get(answer.headers["Location"]).text
    pieces = (response.content[n : n + 70_000] for n in range(0, len(response.content), 70_000))
    assert client.post(f"{PAGE}/import", content=pieces, headers=HERE | ZIP).status_code == 303


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"", 422, "zip"),
        (b"PK but no more than that", 422, "zip"),
        (bytes(2_000_001), 413, "2000000 bytes"),
    ],
)
def test_what_is_no_archive_is_told_in_words(
    client: httpx.Client, body: bytes, status: int, says: str
) -> None:
    headers = HERE | ZIP | {"X-Fragment": "1"}
    response = client.post(f"{PAGE}/import", content=body, headers=headers)
    assert response.status_code == status
    assert 'role="alert"' in response.text
    assert says in response.text


def test_a_visitor_who_leaves_in_the_middle_leaves_nothing(client: httpx.Client, ids: Ids) -> None:
    archive = client.get(f"/ensembles/{ids.full}/archive").content
    for _ in range(3):  # more than are received at once

        def half() -> Iterator[bytes]:
            yield archive[:50_000]
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            client.post(f"{PAGE}/import", content=half(), headers=HERE | ZIP)
    until = time.monotonic() + 20
    while True:  # the places are given back as soon as it is noticed
        answer = client.post(f"{PAGE}/import", content=archive, headers=HERE | ZIP)
        if answer.status_code != 429:
            break
        assert time.monotonic() < until
    assert answer.status_code == 303


def test_no_such_ensemble_is_a_page_that_says_so(client: httpx.Client) -> None:
    for path in (f"{PAGE}/nothing", f"{PAGE}/nothing/archive"):
        response = client.get(path)
        assert response.status_code == 404
        assert "<html" in response.text
    assert post(client, f"{PAGE}/nothing/promote").status_code == 404


def test_the_command_is_one_that_promotes(client: httpx.Client, ids: Ids) -> None:
    text = html.unescape(client.get(f"{PAGE}/{ids.full}").text)
    command = re.search(r"<code>(curl -X PUT .*)</code>", text)
    assert command
    curl, *method, _, kind, _, body, address = shlex.split(command[1])
    assert (curl, method) == ("curl", ["-X", "PUT"])
    assert address == f"{str(client.base_url).rstrip('/')}/ensembles/serving"
    headers = dict([kind.split(": ")])
    changed = client.put("/ensembles/serving", content=body, headers=headers).json()
    assert changed["ensemble"] == ids.full
    client.put("/ensembles/serving", json={"ensemble": ids.bare})


def summary(id_: str, **changes: Any) -> EnsembleSummary:
    fields: dict[str, Any] = {
        "id": id_,
        "name": id_,
        "network": "resnet8",
        "members": 2,
        "classes": 4,
        "dataset": {"name": "noise", "digest": "d"},
        "bytes": 1000,
        "serving": False,
        "val_accuracy": 0.5,
        "val_nll": None,
        "val_ece": None,
        "test_accuracy": None,
        "created_at": "2026-01-01T00:00:00+00:00",
    }
    return EnsembleSummary.model_validate(fields | changes)


def test_a_list_is_sorted_the_best_first_and_the_unknown_last() -> None:
    found = [
        summary("a", val_accuracy=0.4, val_nll=1.0),
        summary("b", val_accuracy=0.6),
        summary("c", val_accuracy=0.5, val_nll=0.5, serving=True),
    ]
    assert [each.id for each in sort(found, "val_accuracy")] == ["b", "c", "a"]
    assert [each.id for each in sort(found, "val_nll")] == ["c", "a", "b"]
    for column in ("", "no-column", "__class__"):
        assert [each.id for each in sort(found, column)] == ["c", "a", "b"]


def test_classes_are_the_worst_first_and_none_stands_twice(client: httpx.Client, ids: Ids) -> None:
    detail = EnsembleDetail.model_validate(client.get(f"/ensembles/{ids.full}").json())
    accuracies = {f"class-{n}": n / 30 for n in range(30)}
    report = {"splits": {"test": {"class_accuracy": accuracies | {"no-picture": None}}}}
    found = view(detail, report)
    assert [name for name, _ in found.worst] == [f"class-{n}" for n in range(12)]
    assert [name for name, _ in found.best] == [f"class-{n}" for n in range(29, 17, -1)]
    assert view(detail, None).classes == ()
