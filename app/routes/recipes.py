"""GET /presets: what a recipe can start from."""

from fastapi import APIRouter

from app.recipe_request import RecipeRequest
from app.schemas import Preset, PresetList
from training.recipe import PRESETS

router = APIRouter(tags=["jobs"])


@router.get("/presets")
async def presets() -> PresetList:
    """Recipes to start from; the first is the one that is taken if none is named."""
    usual = RecipeRequest.model_fields["preset"].default
    names = sorted(PRESETS, key=lambda name: name != usual)
    return PresetList(presets=[Preset(name=name, recipe=PRESETS[name].to_dict()) for name in names])
