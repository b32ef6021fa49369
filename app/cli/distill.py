"""``stillhouse distill``: asks for an ensemble, and watches how it comes to be."""

import json
from collections.abc import Mapping
from typing import IO, Any

import click

from app.cli.command import Command, Failed
from app.cli.follow import follow
from app.cli.recipe_options import fields_given, option_name, recipe_options
from app.cli.screen import duration, show_facts, size, tell
from app.cli.service import failure, with_service
from app.client import Invalid, Stillhouse
from app.schemas import JobPlan


@click.command(
    "distill",
    cls=Command,
    examples=(
        ("distill --preset default --follow", "CIFAR-100 as the preset has it, and watch"),
        ("distill --dataset birds --members 3 --epochs 20", "own pictures, three members"),
        ("distill --teacher resnet18:60 --teacher @birds-3f2a91c0", "two teachers"),
        ("distill --dataset birds --plan", "what it would take; starts nothing"),
        ("job 3f2a91c0 --json | jq .recipe > r.json", "the recipe of another job, and"),
        ("distill --recipe r.json --seed 1", "the same again, with another seed"),
    ),
)
@click.option("--follow", "watch", is_flag=True, help="Watch it until it ends.")
@click.option("--plan", "only_plan", is_flag=True, help="Say what it would take; start nothing.")
@click.option("--recipe", type=click.File(), help="JSON file to start from; - for stdin.")
@click.option("--json", "as_json", is_flag=True, help="As the service answers it.")
@recipe_options
@with_service
def distill_command(
    service: Stillhouse,
    /,
    watch: bool,
    only_plan: bool,
    recipe: IO[str] | None,
    as_json: bool,
    **options: Any,
) -> int:
    """Ask for an ensemble. Each option that is left out is as in the preset.

    The job goes on whatever becomes of this command; 'stillhouse follow' comes back to it.
    """
    asked = _read(recipe) | fields_given(options)
    try:
        if only_plan:
            plan = service.plan(asked)
            click.echo(plan.model_dump_json()) if as_json else _show_plan(plan)
            return 0
        job = service.distill(asked)
    except Invalid as error:
        raise failure(error, fields=option_name) from error
    if as_json and not watch:
        click.echo(job.model_dump_json())
        return 0
    if not watch:
        click.echo(job.id)
        tell(f"'stillhouse follow {job.id}' watches it, 'stillhouse cancel {job.id}' stops it")
        return 0
    return follow(service, job.id)


def _show_plan(found: JobPlan) -> None:
    recipe, pictures, plan = found.recipe, found.pictures, found.plan
    split = pictures and f"{pictures.train} to train on, {pictures.validation} held out"
    at_once = plan and f"{plan['together']} at once, batches of {plan['batch_size']}"
    memory = (
        plan and f"{size(plan['peak_bytes'])} of {size(plan['limit_bytes'])} on {plan['device']}"
    )
    show_facts(
        [
            ("recipe", f"{recipe['members']} × {recipe['student']} on {recipe['dataset']}"),
            ("pictures", split),
            ("networks", at_once),
            ("memory", memory),
            ("device", plan and plan["device"]),
            ("takes", duration(found.estimate_seconds) or "nobody knows: nothing was measured yet"),
            ("measured", found.estimate_from),
        ]
    )


def _read(file: IO[str] | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        recipe = json.load(file)
    except ValueError as error:
        raise Failed(f"{file.name} holds no JSON: {error}") from error
    if not isinstance(recipe, Mapping):
        raise Failed(f"{file.name} holds no recipe, which is a JSON object")
    return dict(recipe)
