"""The pages of jobs, as a browser without scripts and our own script call them."""

import html
import json
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.pages.job_form import FIELDS, recipe_of
from app.pages.job_views import compare, view
from app.recipe_request import RecipeRequest
from app.schemas import Epoch, Job, NetworkProgress
from tests.service import running, settings_for
from tests.tiny import RECIPE, write_dataset

HERE = {"Sec-Fetch-Site": "same-origin"}
SCRIPT = HERE | {"X-Fragment": "1"}
JOBS, NEW, PLAN = "/pages/jobs", "/pages/jobs/new", "/pages/jobs/plan"
TINY = {
    "dataset": "noise",
    "student": "resnet8",
    "members": "2",
    "epochs": "2",
    "teacher_kind": "none",
    "validation_fraction": "0.25",
    "batch_size": "16",
}
"""A recipe as the form sends it."""


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[httpx.Client]:
    """A service without a worker: jobs stay queued."""
    folder = tmp_path_factory.mktemp("jobs")
    write_dataset(folder / "data" / "noise")
    with running(settings_for(folder, redis_url, max_unfinished_jobs=100)) as client:
        yield client


def post(client: httpx.Client, path: str, form: dict[str, str], **headers: str) -> httpx.Response:
    return client.post(path, data=form, headers=HERE | headers)


def started(client: httpx.Client, **changes: str) -> str:
    """Start a job with the form, and return its id."""
    response = post(client, NEW, TINY | changes)
    assert response.status_code == 303, response.text
    return response.headers["Location"].rpartition("/")[2]


def test_a_job_tells_the_id_of_the_request_for_the_page(client: httpx.Client) -> None:
    response = post(client, NEW, TINY, **{"X-Request-ID": "from-the-page"})
    id_ = response.headers["Location"].rpartition("/")[2]
    assert response.headers["X-Request-ID"] == "from-the-page"
    assert client.get(f"/jobs/{id_}").json()["request_id"] == "from-the-page"
    client.delete(f"/jobs/{id_}")


def error_of(text: str, field: str) -> str | None:
    found = re.search(rf'id="{field}-error">([^<]*)<', text)
    return html.unescape(found[1]) if found else None


def value_of(text: str, field: str) -> str:
    found = re.search(rf'<input id="{field}"[^>]* value="([^"]*)"', text)
    assert found, field
    return html.unescape(found[1])


def chosen_in(text: str, field: str) -> str:
    found = re.search(rf'<select id="{field}".*?<option value="([^"]*)" selected', text, re.DOTALL)
    return html.unescape(found[1]) if found else ""


def test_the_form_has_every_field_of_a_recipe(client: httpx.Client) -> None:
    text = client.get(NEW).text
    for name in RecipeRequest.model_fields:
        if name != "teacher":
            assert f'name="{name}"' in text
    assert 'name="teacher_kind"' in text
    assert "Weight of the teacher&#39;s loss against the labels&#39;; 0 to 1." in text


def test_an_empty_field_tells_what_the_preset_has(client: httpx.Client) -> None:
    presets = client.get("/presets").json()["presets"]
    for preset in presets:
        text = client.get(NEW, params={"preset": preset["name"]}).text
        assert f'placeholder="{preset["recipe"]["epochs"]}"' in text
        assert chosen_in(text, "preset") == preset["name"]


def test_a_form_becomes_the_recipe_that_it_says() -> None:
    recipe, wrong = recipe_of(
        TINY | {"learning_rate": "0.05", "nesterov": "true", "name": " ", "promote": "always"}
    )
    assert not wrong
    assert recipe == {
        "dataset": "noise",
        "student": "resnet8",
        "members": 2,
        "epochs": 2,
        "learning_rate": 0.05,
        "nesterov": True,
        "promote": "always",
        "teacher": None,
        "validation_fraction": 0.25,
        "batch_size": 16,
    }


@pytest.mark.parametrize(
    ("form", "teacher"),
    [
        ({"teacher_kind": "network"}, {}),
        (
            {"teacher_kind": "network", "teacher_student": "resnet20", "teacher_epochs": "3"},
            {"student": "resnet20", "epochs": 3},
        ),
        ({"teacher_kind": "ensemble", "teacher_ensemble": "a-b"}, {"ensemble": "a-b"}),
        ({"teacher_kind": "kept", "teacher_kept": '[{"seed": 1}]'}, [{"seed": 1}]),
    ],
)
def test_a_teacher_is_one_of_four_kinds(form: dict[str, str], teacher: Any) -> None:
    assert recipe_of(form) == ({"teacher": teacher}, {})


@pytest.mark.parametrize("kept", ["", "NaN", "[" * 9000, '{"seed": NaN}', '{"sead": 1}'])
def test_a_kept_teacher_that_is_none_is_asked_for_anew(kept: str) -> None:
    assert recipe_of({"teacher_kind": "kept", "teacher_kept": kept})[1].keys() == {"teacher_kind"}


def test_what_no_preset_changes_is_left_to_it() -> None:
    assert recipe_of({"preset": "seed", "teacher_kind": ""}) == ({"preset": "seed"}, {})


@pytest.mark.parametrize(
    ("field", "written", "says"),
    [
        ("members", "ten", "write a whole number"),
        ("members", "101", "less than or equal to 100"),
        ("learning_rate", "fast", "write a number"),
        ("learning_rate", "nan", "write a number"),
        ("name", "../up", "letters, digits"),
        ("dataset", "nowhere", "nowhere"),
        ("teacher_epochs", "many", "write a whole number"),
        ("temperature", "1e999", "write a number"),
        ("seed", "9" * 5000, "write a whole number"),
        ("epochs", "9" * 400, "valid integer"),
        ("student", "<b>", "is none of"),
    ],
)
@pytest.mark.parametrize("path", [NEW, PLAN])
def test_what_is_wrong_stands_beside_its_field_and_nothing_is_lost(
    client: httpx.Client, path: str, field: str, written: str, says: str
) -> None:
    form = TINY | {"name": "mine", "seed": "77", field: written}
    if field.startswith("teacher"):
        form["teacher_kind"] = "network"
    response = post(client, path, form)
    assert response.status_code == 422
    assert says in (error_of(response.text, field) or "")
    for name, value in form.items():
        kept = chosen_in if f'<select id="{name}"' in response.text else value_of
        assert kept(response.text, name) == value


def test_what_is_wrong_with_several_fields_together_is_told(client: httpx.Client) -> None:
    form = TINY | {"teacher_kind": "ensemble", "teacher_ensemble": "nobody-knows"}
    response = post(client, NEW, form, **{"X-Fragment": "1"})
    assert response.status_code == 422
    assert "nobody-knows" in (error_of(response.text, "teacher_ensemble") or "")
    assert "<html" not in response.text


def test_folded_fields_are_unfolded_where_one_is_wrong(client: httpx.Client) -> None:
    text = post(client, PLAN, TINY | {"temperature": "hot"}).text
    assert '<details id="rest-faulty" open>' in text


def test_the_plan_tells_memory_pictures_and_time_and_starts_nothing(client: httpx.Client) -> None:
    before = client.get("/jobs").json()
    text = post(client, PLAN, TINY, **{"X-Fragment": "1"}).text
    assert "What it would take" in text
    told = client.post("/jobs/plan", json=recipe_of(TINY)[0]).json()
    assert f">{told['pictures']['train']}<" in text
    assert "nobody knows how long one takes" in text
    assert client.get("/jobs").json() == before


def test_the_form_starts_the_job_that_it_asks_for_and_once(client: httpx.Client) -> None:
    key = re.search(r'name="key" value="(\w+)"', client.get(NEW).text)
    assert key
    ids = {started(client, name="once", key=key[1]) for _ in range(2)}
    (id_,) = ids
    recipe = client.get(f"/jobs/{id_}").json()["recipe"]
    assert (recipe["members"], recipe["student"], recipe["teacher"]) == (2, "resnet8", None)
    assert started(client, name="once") not in ids


def test_a_job_of_another_site_is_not_started(client: httpx.Client) -> None:
    response = client.post(NEW, data=TINY, headers={"Sec-Fetch-Site": "cross-site"})
    assert response.status_code == 403


def test_a_clone_is_the_same_recipe_until_it_is_changed(client: httpx.Client) -> None:
    for fields in (
        {"teacher_kind": "network", "teacher_student": "resnet14", "teacher_epochs": "5"},
        {"teacher_kind": "kept", "teacher_kept": '[{"seed": 1}, {"seed": 2}]'},
        {"preset": "seed", "learning_rate": "0.2", "optimiser": "muon"},
        {"nesterov": "false", "promote": "never", "augmentation": "none", "precision": "fp32"},
    ):
        recipe = client.get(f"/jobs/{started(client, **fields)}").json()["recipe"]
        id_ = started(client, **fields)
        text = client.get(NEW, params={"from": id_}).text
        form = {
            html.unescape(name): html.unescape(value)
            for name, value in re.findall(r'<input [^>]*name="(\w+)"[^>]* value="([^"]*)"', text)
        }
        names = re.findall(r'<select id="(\w+)"', text)
        form |= {name: chosen_in(text, name) for name in names}
        cloned = post(client, NEW, form).headers["Location"].rpartition("/")[2]
        assert client.get(f"/jobs/{cloned}").json()["recipe"] == recipe


def test_jobs_are_listed_newest_first_and_by_state(client: httpx.Client) -> None:
    old, new = started(client, name="the-older"), started(client, name="the-newer")
    text = client.get(JOBS).text
    assert text.index(new) < text.index(old)
    post(client, f"{JOBS}/{old}/cancel", {})
    listed = client.get(JOBS, params={"status": "cancelled"}).text
    assert old in listed
    assert new not in listed
    assert "No job is succeeded now" in client.get(JOBS, params={"status": "succeeded"}).text


def test_older_jobs_are_a_page_away(client: httpx.Client) -> None:
    for _ in range(25):
        started(client)
    first = client.get(JOBS).text
    address = re.search(r'href="(/pages/jobs\?cursor=[^"]*)">Older', first)
    assert address
    second = client.get(html.unescape(address[1])).text
    ids = [set(re.findall(r'href="/pages/jobs/([0-9a-f]{32})"', text)) for text in (first, second)]
    assert len(ids[0]) == 20
    assert ids[1]
    assert not ids[0] & ids[1]
    assert "Newest" in second


def test_a_job_is_shown_with_its_recipe_and_can_be_stopped(client: httpx.Client) -> None:
    id_ = started(client, name="to-be-stopped")
    text = client.get(f"{JOBS}/{id_}").text
    assert "to-be-stopped" in text
    assert f'data-live="/pages/jobs/{id_}/live"' in text
    assert "Waiting for a worker." in text
    response = client.post(f"{JOBS}/{id_}/cancel", headers=SCRIPT)
    assert response.status_code == 200
    assert "<html" not in response.text
    assert client.get(f"/jobs/{id_}").json()["status"] == "cancelled"
    text = client.get(f"{JOBS}/{id_}").text
    assert "data-live" not in text
    assert 'data-opens="cancel"' not in text
    again = post(client, f"{JOBS}/{id_}/cancel", {})
    assert again.headers["Location"] == f"{JOBS}/{id_}"


def test_a_live_page_gets_what_there_is_and_then_the_end(client: httpx.Client) -> None:
    id_ = started(client)
    post(client, f"{JOBS}/{id_}/cancel", {})
    text = client.get(f"{JOBS}/{id_}/live").text
    assert 'id="job-state"' in text
    assert "cancelled" in text
    assert "event: end" in text


def test_no_such_job_is_a_page_that_says_so(client: httpx.Client) -> None:
    for path in (f"{JOBS}/nobody", f"{NEW}?from=nobody", f"{JOBS}/compare?a=nobody&b=nobody"):
        response = client.get(path)
        assert response.status_code == 404
        assert "<html" in response.text


def test_a_name_leads_to_no_other_call(client: httpx.Client) -> None:
    id_ = started(client)  # it is not finished, so its events would not end
    for address in (f"{JOBS}/compare?a={id_}/events", f"{NEW}?from={id_}/events"):
        assert client.get(address, timeout=10).status_code == 404


def test_a_key_that_is_none_of_ours_starts_a_job_all_the_same(client: httpx.Client) -> None:
    for key in ("é", "a b", "\r\n", "x" * 1000):
        assert started(client, key=key)


def test_names_are_text_and_nothing_else(client: httpx.Client) -> None:
    hostile = '"><script>alert(1)</script>'
    text = post(client, NEW, TINY | {"name": hostile, "dataset": hostile}).text
    assert "<script>alert" not in text
    assert value_of(text, "name") == hostile
    assert "<script>alert" not in client.get(NEW, params={"name": hostile}).text


def test_two_jobs_are_compared_by_what_differs(client: httpx.Client) -> None:
    a, b = started(client, epochs="3"), started(client, epochs="4", label_smoothing="0.1")
    text = client.get(f"{JOBS}/compare", params={"a": a, "b": b}).text
    differences = text[text.index('id="differences"') : text.index('id="same"')]
    assert re.findall(r'<th scope="row">([^<]*)<', differences) == ["epochs", "label smoothing"]
    assert "The recipes are the same" in client.get(f"{JOBS}/compare?a={a}&b={a}").text


def job(**changes: Any) -> Job:
    """Return a job as the service might tell of it, half-way."""
    curve = [
        Epoch(epoch=n, train_loss=3.0 / n, val_accuracy=0.1 * n, seconds=1.0) for n in range(1, 4)
    ]
    fields: dict[str, Any] = {
        "id": "a",
        "status": "running",
        "recipe": json.loads(json.dumps(RECIPE.to_dict())),
        "members": [
            NetworkProgress(index=0, status="succeeded", epoch=3, epochs=3, curve=curve),
            NetworkProgress(index=1, status="running", epoch=1, epochs=3, curve=curve[:1]),
        ],
        "teachers": [NetworkProgress(epochs=5, epoch=2, curve=curve[:2])],
        "created_at": "2026-01-01T00:00:00Z",
    }
    return Job.model_validate(fields | changes)


def test_curves_are_of_all_networks_and_the_teacher_is_first() -> None:
    found = view(job())
    assert [each.name for each in found.networks] == ["teacher", "member 1", "member 2"]
    assert [line.name for line in found.accuracy.lines] == ["teacher", "member 1", "member 2"]
    assert [line.last for line in found.accuracy.lines] == pytest.approx([0.2, 0.3, 0.1])
    assert [line.last for line in found.loss.lines] == pytest.approx([1.5, 1.0, 3.0])
    assert found.done == 1
    assert found.has_curves
    assert not view(job(members=[], teachers=[])).has_curves


def test_a_comparison_draws_the_mean_of_the_members_that_are_that_far() -> None:
    found = compare(job(), job(id="b", members=[]))
    assert [line.last for line in found.accuracy.lines] == [pytest.approx(0.3), None]
    assert len(found.accuracy.lines[0].runs) == 1
    metrics = {"validation": {"pooled": {"accuracy": 0.5, "top5_accuracy": 0.9}}}
    rows = {row.name: row for row in compare(job(metrics=metrics), job()).results}
    assert (rows["together"].a, rows["together"].b) == ("50.0%", "–")


def test_every_field_has_a_label_and_a_line_that_explains_it() -> None:
    for field in FIELDS.values():
        assert field.label
        assert field.hint.endswith(".")
        assert "`" not in field.hint
