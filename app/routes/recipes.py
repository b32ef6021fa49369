"""GET /presets and POST /jobs/plan: what a recipe can start from, and what would come of it."""

from fastapi import APIRouter

from app.forecast import forecast
from app.recipe_request import RecipeRequest
from app.routes.json_bodies import JsonRoute
from app.routes.responses import problems
from app.schemas import JobPlan, Preset, PresetList
from app.service import ServiceDependency
from training.feasible import check_against_data
from training.recipe import PRESETS

router = APIRouter(tags=["jobs"], route_class=JsonRoute)


@router.get("/presets")
async def presets() -> PresetList:
    """Recipes to start from; the first is the one that is taken if none is named."""
    usual = RecipeRequest.model_fields["preset"].default
    names = sorted(PRESETS, key=lambda name: name != usual)
    return PresetList(presets=[Preset(name=name, recipe=PRESETS[name].to_dict()) for name in names])


@router.post("/jobs/plan", responses=problems(400, 413, 422, 503))
def plan(recipe_request: RecipeRequest, service: ServiceDependency) -> JobPlan:
    """Say what a job would take, and refuse what `POST /jobs/distill` would; nothing is kept."""
    recipe, settings = recipe_request.to_recipe(), service.settings
    check_against_data(recipe, settings.data, service.store)
    return forecast(recipe, service.jobs, service.store, settings.data, settings.memory_limit_bytes)
