"""Presets: every field of each, and posting one asks for what posting its name does."""

import httpx

from tests.service import post
from training.recipe import PRESETS


def test_presets_are_told_with_every_field_the_usual_one_first(client: httpx.Client) -> None:
    response = client.get("/presets")
    assert response.status_code == 200
    told = {each["name"]: each["recipe"] for each in response.json()["presets"]}
    assert next(iter(told)) == "default"
    assert told == {name: recipe.to_dict() for name, recipe in PRESETS.items()}


def test_a_preset_can_be_posted_as_it_was_told(client: httpx.Client) -> None:
    for preset in client.get("/presets").json()["presets"]:
        by_fields = post(client, preset["recipe"])
        assert by_fields.status_code == 202, by_fields.text
        by_name = post(client, {"preset": preset["name"]})
        assert by_fields.json()["recipe"] == by_name.json()["recipe"] == preset["recipe"]
