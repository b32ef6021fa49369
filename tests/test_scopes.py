"""What each call asks of a key. Every route has its line in the table; the rest is for admins."""

import re

import pytest
from fastapi.routing import iter_route_contexts

from app.scopes import TABLE, find_need, need_of
from app.service import create_app
from app.settings import Settings

EXPECTED = {
    ("POST", "/predict"): "predict",
    ("GET", "/classes"): "predict",
    ("GET", "/v2"): "predict",
    ("GET", "/v2/health/live"): "predict",
    ("GET", "/v2/health/ready"): "predict",
    ("GET", "/v2/models/{name}"): "predict",
    ("GET", "/v2/models/{name}/versions/{version}"): "predict",
    ("GET", "/v2/models/{name}/ready"): "predict",
    ("GET", "/v2/models/{name}/versions/{version}/ready"): "predict",
    ("POST", "/v2/models/{name}/infer"): "predict",
    ("POST", "/v2/models/{name}/versions/{version}/infer"): "predict",
    ("GET", "/presets"): "any key",
    ("POST", "/jobs/plan"): "train",
    ("POST", "/jobs/distill"): "train",
    ("GET", "/jobs"): "train",
    ("GET", "/jobs/{id}"): "train",
    ("DELETE", "/jobs/{id}"): "train",
    ("GET", "/jobs/{id}/events"): "train",
    ("GET", "/datasets"): "train",
    ("GET", "/datasets/{name}"): "train",
    ("GET", "/datasets/{name}/picture"): "train",
    ("PUT", "/datasets/{name}"): "train",
    ("PUT", "/ensembles/serving"): "admin",
    ("GET", "/ensembles"): "any key",
    ("GET", "/ensembles/{id}"): "any key",
    ("GET", "/ensembles/{id}/report"): "any key",
    ("GET", "/ensembles/{id}/archive"): "train",
    ("POST", "/ensembles"): "admin",
    ("GET", "/version"): "any key",
    ("GET", "/metrics"): "any key",
    ("GET", "/healthz"): "nothing",
    ("GET", "/readyz"): "nothing",
    ("GET", "/"): "nothing",
    ("GET", "/pages/sign-in"): "nothing",
    ("POST", "/pages/sign-in"): "nothing",
    ("POST", "/pages/sign-out"): "nothing",
    ("GET", "/pages/status"): "nothing",
    ("POST", "/pages/try/answer"): "nothing",
    ("GET", "/pages/try/examples"): "nothing",
    ("GET", "/pages/try/example"): "nothing",
    ("GET", "/pages/jobs"): "nothing",
    ("GET", "/pages/jobs/live"): "nothing",
    ("GET", "/pages/jobs/compare"): "nothing",
    ("GET", "/pages/jobs/new"): "nothing",
    ("POST", "/pages/jobs/new"): "nothing",
    ("POST", "/pages/jobs/plan"): "nothing",
    ("GET", "/pages/jobs/{id}"): "nothing",
    ("GET", "/pages/jobs/{id}/live"): "nothing",
    ("POST", "/pages/jobs/{id}/cancel"): "nothing",
    ("GET", "/pages/ensembles"): "nothing",
    ("POST", "/pages/ensembles/import"): "nothing",
    ("GET", "/pages/ensembles/{id}"): "nothing",
    ("POST", "/pages/ensembles/{id}/promote"): "nothing",
    ("GET", "/pages/ensembles/{id}/archive"): "nothing",
    ("GET", "/pages/data"): "nothing",
    ("POST", "/pages/data/upload"): "nothing",
    ("GET", "/pages/data/{name}"): "nothing",
    ("GET", "/pages/data/{name}/check"): "nothing",
    ("GET", "/pages/data/{name}/picture"): "nothing",
    ("GET", "/pages/{path:path}"): "nothing",
    ("GET", "/pages/static/{path}"): "nothing",
    ("HEAD", "/pages/static/{path}"): "nothing",
    ("GET", "/docs"): "nothing",
    ("GET", "/docs/oauth2-redirect"): "nothing",
    ("GET", "/redoc"): "nothing",
    ("GET", "/openapi.json"): "nothing",
    ("HEAD", "/openapi.json"): "nothing",
    ("GET", "/static-offline-docs/{path}"): "nothing",
    ("HEAD", "/static-offline-docs/{path}"): "nothing",
}


def calls() -> set[tuple[str, str]]:
    """Return method and path of everything that the application answers."""
    application = create_app(Settings.model_validate({"redis_url": "redis://127.0.0.1:1/0"}))
    found = set()
    for route in iter_route_contexts(application.routes):
        assert route.path is not None
        if route.methods is None:  # files, which are got
            found |= {(method, f"{route.path}/{{path}}") for method in ("GET", "HEAD")}
        else:
            found |= {(method, route.path) for method in route.methods}
    return found


def example(path: str) -> str:
    return re.sub(r"\{[\w:]+\}", "0" * 32, path)


def test_every_route_is_in_the_table_on_purpose() -> None:
    assert calls() == set(EXPECTED)
    assert {call for call in calls() if find_need(call[0], example(call[1])) is None} == set()


@pytest.mark.parametrize("call", EXPECTED, ids=" ".join)
def test_a_route_asks_for_what_it_should(call: tuple[str, str]) -> None:
    assert need_of(call[0], example(call[1])) == EXPECTED[call]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/a-route-of-tomorrow"),
        ("DELETE", "/ensembles/0"),
        ("POST", "/ensembles/x"),
        ("PUT", "/predict"),
        ("GET", "/predict/"),
        ("GET", "/healthz/more"),
        ("GET", "/healthz\n"),
        ("GET", "//docs"),
        ("GET", "/docs/other"),
        ("POST", "/static-offline-docs/x"),
        ("GET", "/static-offline-docs"),
        ("GET", ""),
    ],
)
def test_what_is_not_in_the_table_is_for_administrators(method: str, path: str) -> None:
    assert need_of(method, path) == "admin"


def test_every_line_of_the_table_is_of_a_route() -> None:
    used = set()
    for method, path in calls():
        for line in TABLE:
            if line[0] in {"*", method} and re.fullmatch(line[1], example(path)):
                used.add(line)
                break
    assert used == set(TABLE)
