"""An option for every field of a recipe, from the model of the request: nothing is typed twice."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from app.recipe_request import RecipeRequest

F = TypeVar("F", bound=Callable[..., Any])

_TRAINED = re.compile(r"(?P<student>[^:@]+)(:(?P<epochs>\d+)(:(?P<seed>\d+))?)?")


def option_name(field: str) -> str:
    """Return what the command line calls a field of a recipe, such as ``teacher.1.student``."""
    return f"--{field.partition('.')[0].replace('_', '-')}"


def recipe_options(command: F) -> F:
    """Give a command the options; those that are not used are left to the preset, and are none."""
    properties = RecipeRequest.model_json_schema()["properties"]
    for name, said in reversed(properties.items()):
        option = _TEACHER if name == "teacher" else _option(name, said)
        command = option(command)
    return command


def fields_given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a recipe that options give."""
    given = {name: value for name, value in options.items() if value is not None}
    if "teacher" in given:
        teachers = given.pop("teacher")
        if teachers:
            nobody = teachers == ("none",)
            given["teacher"] = None if nobody else [_teacher(each) for each in teachers]
    return given


def _option(name: str, said: dict[str, Any]) -> Callable[[F], F]:
    dashed = name.replace("_", "-")
    declared = f"--{dashed}/--no-{dashed}" if said.get("type") == "boolean" else f"--{dashed}"
    return click.option(
        declared,
        name,
        type=_type(said),
        default=None,
        metavar="N" if said.get("type") in {"integer", "number"} else None,
        help=_sentence(said["description"]),
    )


def _type(said: dict[str, Any]) -> click.ParamType[Any] | None:
    if "enum" in said:
        return click.Choice(said["enum"])
    bounds: dict[str, Any] = {"min": said.get("minimum"), "max": said.get("maximum")}
    match said["type"]:
        case "integer":
            return click.IntRange(**bounds)
        case "number":
            return click.FloatRange(**bounds)
    return None


def _sentence(description: str) -> str:
    return f"{description[0].upper()}{description[1:]}.".replace("`", "'")


_TEACHER = click.option(
    "--teacher",
    multiple=True,
    metavar="TEACHER",
    help="Network and epochs, such as resnet18:60 (resnet18:60:1 for another seed), an ensemble as"
    " @ID, or none. Several times for several teachers.",
)


def _teacher(written: str) -> dict[str, Any]:
    if written.startswith("@"):
        return {"ensemble": written[1:]}
    found = _TRAINED.fullmatch(written)
    if found is None or written == "none":
        reason = "write NETWORK:EPOCHS, NETWORK:EPOCHS:SEED or @ENSEMBLE; 'none' stands alone"
        raise click.BadParameter(f"{written!r}: {reason}", param_hint="--teacher")
    given = {name: value for name, value in found.groupdict().items() if value is not None}
    return {name: value if name == "student" else int(value) for name, value in given.items()}
