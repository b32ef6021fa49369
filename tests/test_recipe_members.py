"""Several teachers are dealt out to the members, each with a temperature and weight of its own."""

from dataclasses import replace

import pytest

from models.errors import InvalidRecipe
from training.recipe import EnsembleTeacher, Recipe, TrainedTeacher
from training.recipe_check import check_recipe, recipe_from_dict


def bad_fields(recipe: Recipe) -> list[str]:
    """Return the fields a recipe is refused for."""
    with pytest.raises(InvalidRecipe) as refused:
        check_recipe(recipe)
    return sorted(problem.field for problem in refused.value.problems)


# Teachers.


def test_one_of_several_teachers_is_named_by_its_place() -> None:
    teachers = TrainedTeacher("lenet", 5), EnsembleTeacher("a-1"), TrainedTeacher("resnet8", 0)
    assert bad_fields(Recipe(teacher=teachers)) == ["teacher.0.student", "teacher.2.epochs"]


def test_the_same_teacher_twice_is_refused_and_another_seed_is_another() -> None:
    one = TrainedTeacher("resnet8", 5)
    assert bad_fields(Recipe(teacher=(one, one))) == ["teacher"]
    check_recipe(Recipe(teacher=(one, replace(one, seed=1))))
    assert bad_fields(Recipe(teacher=(EnsembleTeacher("a"),) * 2)) == ["teacher"]


def test_a_teacher_without_a_member_to_teach_is_refused() -> None:
    three = tuple(TrainedTeacher("resnet8", 5, seed) for seed in range(3))
    check_recipe(Recipe(teacher=three, members=3))
    assert bad_fields(Recipe(teacher=three, members=2)) == ["teacher"]


@pytest.mark.parametrize(("weight", "spread"), [(0.5, 0.5), (0.9, 0.1), (0.1, 0.1), (1.0, 0.0)])
def test_weights_of_members_may_reach_0_and_1_and_not_beyond(weight: float, spread: float) -> None:
    recipe = Recipe(distillation_weight=weight, distillation_weight_spread=spread)
    check_recipe(recipe)
    if spread < 0.5:
        beyond = replace(recipe, distillation_weight_spread=spread + 0.01)
        assert bad_fields(beyond) == ["distillation_weight_spread"]


def test_as_json_a_teacher_is_one_a_list_or_null() -> None:
    one, other = TrainedTeacher("resnet8", 3), EnsembleTeacher("a-1")
    as_json = {"student": "resnet8", "epochs": 3, "seed": 0}
    assert Recipe(teacher=(one,)).to_dict()["teacher"] == as_json
    assert Recipe(teacher=(one, other)).to_dict()["teacher"] == [as_json, {"ensemble": "a-1"}]
    assert Recipe(teacher=()).to_dict()["teacher"] is None
    assert recipe_from_dict({"teacher": []}) == Recipe(teacher=())
    assert recipe_from_dict({"teacher": [as_json]}) == Recipe(teacher=(one,))


# What each member gets.


def test_members_have_temperatures_and_weights_spread_around_the_recipes() -> None:
    recipe = Recipe(
        members=5,
        temperature=4.0,
        temperature_spread=4.0,
        distillation_weight=0.5,
        distillation_weight_spread=0.2,
    )
    of_members = [recipe.of_member(index) for index in range(5)]
    assert [of.temperature for of in of_members] == pytest.approx([1, 2, 4, 8, 16])
    weights = [of.distillation_weight for of in of_members]
    assert weights == pytest.approx([0.3, 0.4, 0.5, 0.6, 0.7])
    for of in of_members:
        assert (of.temperature_spread, of.distillation_weight_spread) == (1.0, 0.0)


def test_without_spread_or_alone_a_member_has_the_recipes() -> None:
    plain = Recipe(members=3)
    assert [plain.of_member(index) for index in range(3)] == [plain] * 3
    alone = Recipe(members=1, temperature_spread=4.0, distillation_weight_spread=0.2).of_member(0)
    assert (alone.temperature, alone.distillation_weight) == (4.0, 0.5)


def test_teachers_are_dealt_out_in_turn() -> None:
    teachers = TrainedTeacher("resnet8", 5), EnsembleTeacher("a-1")
    recipe = Recipe(members=5, teacher=teachers)
    assert [recipe.teacher_of(index) for index in range(5)] == [0, 1, 0, 1, 0]
    assert Recipe(teacher=()).teacher_of(3) is None


def test_views_are_kept_only_where_that_saves_the_teacher_work() -> None:
    recipe = replace(Recipe(), members=4, epochs=3, teacher_views=12)
    assert recipe.kept_views == 12
    assert replace(recipe, teacher_views=13).kept_views == 0
    assert replace(recipe, epochs=2).kept_views == 0
    two = (TrainedTeacher("resnet8", 1), TrainedTeacher("resnet8", 1, seed=1))
    assert replace(recipe, teacher=two).kept_views == 0, "each teaches only two members"
    assert replace(recipe, teacher=two, teacher_views=6).kept_views == 6
