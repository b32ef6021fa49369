"""``/pages/jobs/new``: a recipe as a form, what it would take, and the job that comes of it."""

import json
import math
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from pydantic import TypeAdapter, ValidationError
from starlette.responses import RedirectResponse, Response

from app.client import Invalid
from app.pages.jobs import JOBS
from app.pages.rendering import render
from app.pages.sign_in import read_form
from app.pages.visitor import Visitor, VisitorDependency
from app.recipe_request import NETWORKS, RecipeRequest, TeachersRequest
from app.schemas import JobPlan

router = APIRouter(include_in_schema=False)

FORM = f"{JOBS}/new"
PLAN = f"{JOBS}/plan"

FEW = ("preset", "dataset", "name", "student", "members", "epochs")
"""Fields that matter to everybody; the teacher's are beside them, all others are folded away."""

_PROPERTIES: Mapping[str, Mapping[str, Any]] = RecipeRequest.model_json_schema()["properties"]

_TEACHERS: TypeAdapter[Any] = TypeAdapter(TeachersRequest)

_TEACHER_FIELDS = {
    "teacher.student": "teacher_student",
    "teacher.epochs": "teacher_epochs",
    "teacher.seed": "teacher_epochs",
    "teacher.ensemble": "teacher_ensemble",
}

_IN_WORDS = {"name": "use letters, digits and . _ - alone, 64 at most, a letter or digit first"}
"""What is wrong with fields whose rule is a pattern, which few people read."""


@dataclass(frozen=True)
class Field:
    """One field of a recipe, as a form shows it.

    Attributes:
        name: of the recipe.
        label: for people.
        hint: one line that explains it, with its bounds.
        options: to choose among; none where it is written.
        whole: whether a number is one without a fraction.
        number: whether it is a number at all.
    """

    name: str
    label: str
    hint: str
    options: tuple[str, ...]
    whole: bool
    number: bool


def _field(name: str, said: Mapping[str, Any]) -> Field:
    hint = said["description"].replace("`", "")
    hint = hint[0].upper() + hint[1:]
    if "minimum" in said:
        hint += f"; {said['minimum']:g} to {said['maximum']:,.10g}"
    options = tuple(said.get("enum", ()))
    if said.get("type") == "boolean":
        options = ("true", "false")
    type_ = said.get("type")
    label = name.replace("_", " ").capitalize()
    return Field(
        name, label, f"{hint}.", options, type_ == "integer", type_ in {"integer", "number"}
    )


FIELDS = {name: _field(name, said) for name, said in _PROPERTIES.items() if name != "teacher"}
REST = tuple(field for name, field in FIELDS.items() if name not in FEW)


@router.get(FORM)
async def new(visitor: VisitorDependency) -> Response:
    """Ask for a recipe; another job's with ``from``, or fields of one as they are named."""
    asked = dict(visitor.request.query_params)
    values = {name: value for name, value in asked.items() if name in FIELDS}
    if cloned := asked.get("from"):
        values = await _values_of(visitor, cloned) | values
    return await _page(visitor, values)


@router.post(PLAN)
async def plan(visitor: VisitorDependency) -> Response:
    """Say what the recipe would take; nothing is started."""
    values = await read_form(visitor.request)
    recipe, wrong = recipe_of(values)
    if wrong:
        return await _page(visitor, values, wrong)
    try:
        return await _page(visitor, values, plan=await visitor.client.plan(recipe))
    except Invalid as error:
        return await _page(visitor, values, *_faults(error))


@router.post(FORM)
async def start(visitor: VisitorDependency) -> Response:
    """Start a job; the same form sent twice starts one."""
    values = await read_form(visitor.request)
    recipe, wrong = recipe_of(values)
    if wrong:
        return await _page(visitor, values, wrong)
    key = values.get("key", "")
    try:
        job = await visitor.client.distill(
            recipe, idempotency_key=key if re.fullmatch(r"[0-9a-f]{32}", key) else uuid.uuid4().hex
        )
    except Invalid as error:
        return await _page(visitor, values, *_faults(error))
    return RedirectResponse(f"{JOBS}/{job.id}", 303)


def recipe_of(values: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the recipe that a form's fields ask for, and what is wrong with those it cannot read.

    Whether a recipe makes sense is the service's to say; here text becomes numbers.
    """
    recipe: dict[str, Any] = {}
    wrong: dict[str, str] = {}
    for field in FIELDS.values():
        written = values.get(field.name, "").strip()
        if not written:
            continue
        try:
            recipe[field.name] = _read(field, written)
        except ValueError:
            kind = "a whole number, such as 10" if field.whole else "a number, such as 0.1"
            wrong[field.name] = f"write {kind}"
    match values.get("teacher_kind"):
        case "none":
            recipe["teacher"] = None
        case "ensemble":
            recipe["teacher"] = {"ensemble": values.get("teacher_ensemble", "").strip()}
        case "network":
            teacher: dict[str, Any] = {}
            recipe["teacher"] = teacher
            if student := values.get("teacher_student", "").strip():
                teacher["student"] = student
            if epochs := values.get("teacher_epochs", "").strip():
                try:
                    teacher["epochs"] = int(epochs)
                except ValueError:
                    wrong["teacher_epochs"] = "write a whole number, such as 60"
        case "kept":
            kept = values.get("teacher_kept", "")
            try:
                _TEACHERS.validate_json(kept)
                recipe["teacher"] = json.loads(kept)
            except ValidationError:
                wrong["teacher_kind"] = "choose who teaches"
    return recipe, wrong


def _read(field: Field, written: str) -> Any:
    if field.options == ("true", "false"):
        return written == "true"
    if not field.number:
        return written
    if field.whole:
        return int(written)
    number = float(written)
    if not math.isfinite(number):
        raise ValueError(written)  # JSON has no word for it
    return number


async def _values_of(visitor: Visitor, id_: str) -> dict[str, str]:
    """Return the fields of the form that make it another job's recipe."""
    recipe = (await visitor.client.job(id_)).recipe
    presets = (await visitor.client.presets()).presets
    named = recipe.get("preset")
    usual = next((each for each in presets if each.name == named), presets[0])
    values = {"preset": usual.name}
    for name in FIELDS.keys() & recipe.keys():
        if recipe[name] != usual.recipe.get(name) or name in FEW:
            values[name] = _written(recipe[name])
    teacher = recipe["teacher"]
    if teacher is None:
        values["teacher_kind"] = "none"
    elif isinstance(teacher, dict) and "ensemble" in teacher:
        values |= {"teacher_kind": "ensemble", "teacher_ensemble": teacher["ensemble"]}
    elif isinstance(teacher, dict) and not teacher.get("seed"):
        values |= {"teacher_kind": "network", "teacher_student": teacher["student"]}
        values["teacher_epochs"] = str(teacher["epochs"])
    else:
        values |= {"teacher_kind": "kept", "teacher_kept": json.dumps(teacher)}
    return values


def _written(value: Any) -> str:
    return json.dumps(value) if isinstance(value, bool) else str(value)


def _faults(error: Invalid) -> tuple[dict[str, str], str | None]:
    """Return what is wrong beside each field of the form, and what stands beside none."""
    wrong: dict[str, str] = {}
    elsewhere = []
    for fault in error.fields:
        name = _TEACHER_FIELDS.get(fault.field, fault.field)
        if name.partition(".")[0] == "teacher":
            name = "teacher_kind"
        if name in FIELDS or name.startswith("teacher_"):
            wrong[name] = _IN_WORDS.get(name, fault.reason)
        else:
            elsewhere.append(f"{fault.field}: {fault.reason}")
    if not error.fields:
        elsewhere.append(error.problem.detail)
    return wrong, "; ".join(elsewhere) or None


async def _page(
    visitor: Visitor,
    values: dict[str, str],
    wrong: dict[str, str] | None = None,
    trouble: str | None = None,
    *,
    plan: JobPlan | None = None,
) -> Response:
    wrong = wrong or {}
    presets = (await visitor.client.presets()).presets
    chosen = next((each for each in presets if each.name == values.get("preset")), presets[0])
    context = {
        "values": values,
        "wrong": wrong,
        "trouble": trouble,
        "plan": plan,
        "fields": FIELDS,
        "rest": REST,
        "rest_changed": sum(bool(values.get(field.name)) for field in REST),
        "networks": NETWORKS,
        "presets": presets,
        "usual": {name: _written(value) for name, value in chosen.recipe.items()},
        "usual_teacher": chosen.recipe["teacher"],
        "datasets": (await visitor.client.datasets()).datasets,
        "ensembles": (await visitor.client.ensembles()).ensembles,
        "key": values.get("key") or uuid.uuid4().hex,
    }
    status = 422 if wrong or trouble else 200
    if visitor.wants_fragment:
        text = render("_job_form.html", **context)
        return Response(text, status, media_type="text/html; charset=utf-8")
    return await visitor.page("job_form.html", status, **context)
