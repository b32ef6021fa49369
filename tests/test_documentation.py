"""What the documentation says exists, does exist; what exists is documented."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.problems import (
    ANSWERS,
    HTTP_ANSWERS,
    INVALID_REQUEST,
    KEY_NEEDED,
    POISON,
    QUEUE_UNAVAILABLE,
    SCOPE_NEEDED,
    TOO_MANY_CONNECTIONS,
    TOO_MANY_REQUESTS,
)
from app.scopes import need_of
from app.service import create_app
from app.settings import Settings
from training.recipe import PRESETS, Recipe, TrainedTeacher

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]

README = (ROOT / "README.md").read_text()
HTTP = (ROOT / "docs" / "http.md").read_text()
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
RECIPES = (ROOT / "docs" / "recipes.md").read_text()


def routes() -> list[tuple[str, str]]:
    app = create_app(Settings(redis_url=SecretStr("redis://127.0.0.1:1/0")))
    schema = app.openapi()
    return [
        (method.upper(), path) for path, methods in schema["paths"].items() for method in methods
    ]


def test_every_call_has_a_heading() -> None:
    headings = set(re.findall(r"^### `(.+)`$", HTTP, flags=re.MULTILINE))
    called = {re.sub(r"\{(\w+)\}", r"<\1>", f"{method} {path}") for method, path in routes()}
    assert called == headings


def test_every_problem_type_is_explained() -> None:
    at_the_door = (KEY_NEEDED, SCOPE_NEEDED, TOO_MANY_REQUESTS)
    alone = (INVALID_REQUEST, POISON, QUEUE_UNAVAILABLE, TOO_MANY_CONNECTIONS)
    others = (*HTTP_ANSWERS.values(), *alone, *at_the_door)
    missing = {a.type for a in (*ANSWERS.values(), *others) if f"`{a.type}`" not in HTTP}
    assert missing == set()


def test_the_table_of_keys_says_what_each_call_needs() -> None:
    rows = re.findall(r"^\| (`[^|]+`) \| (.+) \|$", _section("Keys"), flags=re.MULTILINE)
    told = {
        (method, re.sub(r"<(\w+)>", r"{\1}", path)): need.strip("`")
        for calls, need in rows
        for method, path in re.findall(r"`([A-Z]+) (/[^`]*)`", calls)
    }
    documented = {
        (method, path)
        for method, path in routes()
        if any(_fits(path, pattern) for known, pattern in told if known == method)
    }
    assert documented == set(routes())
    for (method, path), need in told.items():
        for example in (path.replace("…", "x"), path.replace("/…", "")):
            assert need_of(method, example) == need, (method, path)


def _section(title: str) -> str:
    return HTTP.split(f"\n## {title}\n")[1].split("\n## ")[0]


def _fits(path: str, pattern: str) -> bool:
    return path == pattern or (
        pattern.endswith("/…") and (path + "/").startswith(pattern.removesuffix("…"))
    )


def test_every_setting_is_explained_and_no_other() -> None:
    documented = set(re.findall(r"^\| `(STILLHOUSE_\w+)`", OPERATIONS, flags=re.MULTILINE))
    assert documented == {f"STILLHOUSE_{name.upper()}" for name in Settings.model_fields}


def test_the_table_of_presets_says_what_the_presets_are() -> None:
    rows = {
        row[0]: row[1:]
        for line in RECIPES.splitlines()
        if len(row := [cell.strip() for cell in line.strip("|").split("|")]) == 4
    }
    for column, name in enumerate(("seed", "default", "strong")):
        recipe = PRESETS[name]
        assert rows["student × members"][column] == f"{recipe.student} × {recipe.members}"
        assert rows["teachers, epochs"][column] == _teachers(recipe)
        assert rows["kept views"][column] == str(recipe.teacher_views)
        assert rows["distillation loss"][column] == recipe.distillation_loss
        assert rows["optimiser"][column] == recipe.optimiser
        muon = f"{recipe.muon_learning_rate:g}, {recipe.muon_weight_decay:g}"
        by_muon = recipe.optimiser == "muon"
        assert rows["Muon's learning rate, weight decay"][column] == (muon if by_muon else "none")
        assert rows["epochs"][column] == str(recipe.epochs)
        assert rows["batch size"][column] == str(recipe.batch_size)
        schedule = f"{recipe.learning_rate:g}, {recipe.schedule}"
        assert rows["learning rate, schedule"][column] == schedule
        momentum = f"{recipe.momentum:g}" + (", Nesterov" if recipe.nesterov else "")
        assert rows["momentum"][column] == momentum
        assert float(rows["weight decay"][column]) == recipe.weight_decay
        weights = f"{recipe.temperature:g}, {recipe.distillation_weight:g}"
        assert rows["temperature, λ"][column] == weights
        assert float(rows["label smoothing"][column]) == recipe.label_smoothing
        assert rows["augmentation"][column] == recipe.augmentation
        assert rows["precision"][column] == recipe.precision
        assert rows["held out for validation"][column] == f"{recipe.validation_fraction:.0%}"


def _teachers(recipe: Recipe) -> str:
    kinds = {
        (teacher.student, teacher.epochs)
        for teacher in recipe.teacher
        if isinstance(teacher, TrainedTeacher)
    }
    assert len(kinds) == 1
    student, epochs = kinds.pop()
    times = f"{len(recipe.teacher)} × " if len(recipe.teacher) > 1 else ""
    return f"{times}{student}, {epochs}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_pages_name_exist(page: Path) -> None:
    text = page.read_text()
    for name in re.findall(r"`((?:app|training|models|tests|benchmarks|docs|ops)/[\w./-]*)`", text):
        assert (ROOT / name).exists(), name


def test_every_make_target_that_pages_name_exists() -> None:
    make = shutil.which("make")
    assert make is not None
    listed = subprocess.run([make, "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    targets = set(re.findall(r"^  make ([a-z-]+)", listed.stdout, flags=re.MULTILINE))
    for page in PAGES:
        for name in re.findall(r"`make ([a-z-]+)", page.read_text()):
            assert name in targets, f"{page.name}: make {name}"
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(), flags=re.DOTALL):
            for name in re.findall(r"^make ([a-z-]+)", block, flags=re.MULTILINE):
                assert name in targets, f"{page.name}: make {name}"


def test_every_address_in_a_curl_is_a_call() -> None:
    paths = [re.sub(r"\{\w+\}", r"[^/]+", path) for _, path in routes()]
    found = [
        address
        for page in PAGES
        for address in re.findall(r"http://127\.0\.0\.1:8000(/[^\s'?`]+)", page.read_text())
    ]
    assert len(found) >= 4
    for address in found:
        known = any(re.fullmatch(path, address) for path in paths)
        assert known or address.startswith("/docs"), address
