"""A recipe that cannot work is refused with every reason, and the presets are what they claim."""

import json
from dataclasses import replace
from typing import Any

import pytest

from models.errors import InvalidRecipe
from training.bounds import BOUNDS
from training.recipe import PRESETS, EnsembleTeacher, Recipe, TrainedTeacher, digest_of
from training.recipe_check import check_recipe, recipe_from_dict


def bad_fields(recipe: Recipe) -> list[str]:
    """Return the fields a recipe is refused for."""
    with pytest.raises(InvalidRecipe) as refused:
        check_recipe(recipe)
    return sorted(problem.field for problem in refused.value.problems)


def with_number(field: str, value: float) -> Recipe:
    changed: Any = {field: value}
    if field == "teacher.epochs":
        changed = {"teacher": (TrainedTeacher("resnet8", value),)}  # type: ignore[arg-type]
    if field == "teacher.seed":
        changed = {"teacher": (TrainedTeacher("resnet8", seed=value),)}  # type: ignore[arg-type]
    if field == "distillation_weight_spread":
        changed = {field: value, "distillation_weight": 0.5}
    return replace(Recipe(), **{"nesterov": False, "schedule": "constant", **changed})


# Presets.


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_works_and_knows_its_name(name: str) -> None:
    check_recipe(PRESETS[name])
    assert PRESETS[name].preset == name


def test_the_seed_preset_is_the_seed_work_field_by_field() -> None:
    assert PRESETS["seed"].to_dict() == {
        # stateun/MLDL2, Knowledge_Distillation
        "dataset": "cifar100",
        "student": "resnet14",
        "members": 10,
        "epochs": 50,
        "batch_size": 128,
        "learning_rate": 0.1,
        "momentum": 0.9,
        "nesterov": False,
        "weight_decay": 1e-4,
        "schedule": "constant",  # its step never fires
        "temperature": 4.0,
        "distillation_weight": 0.5,
        "label_smoothing": 0.1,
        "augmentation": "none",
        "validation_fraction": 0.2,  # 40,000 and 10,000
        "precision": "fp32",
        "teacher": {"student": "resnet50", "epochs": 60, "seed": 0},
        # ours, and what it does not have
        "optimiser": "sgd",
        "muon_learning_rate": 0.1,
        "muon_weight_decay": 2e-2,
        "initialisation": "he",
        "distillation_loss": "kl",
        "temperature_spread": 1.0,
        "distillation_weight_spread": 0.0,
        "distillation_schedule": "constant",
        "initial_ensemble": "",
        "pooled_weight": 0.0,
        "teacher_views": 0,
        "preset": "seed",
        "name": "",
        "seed": 0,
        "promote": "if_better",
    }


# What is refused.


def test_every_bad_field_is_named_at_once() -> None:
    recipe = Recipe(
        preset="best",
        name="../x",
        dataset="a/b",
        student="vgg8",
        members=0,
        teacher=(TrainedTeacher("vgg13", epochs=0, seed=-1),),
        teacher_views=-1,
        epochs=0,
        batch_size=1,
        optimiser="adam",  # type: ignore[arg-type]
        learning_rate=0.0,
        muon_learning_rate=0.0,
        momentum=1.0,
        weight_decay=-1.0,
        muon_weight_decay=-1.0,
        schedule="step",  # type: ignore[arg-type]
        initialisation="zeros",  # type: ignore[arg-type]
        distillation_loss="mse",  # type: ignore[arg-type]
        temperature=0.0,
        temperature_spread=0.5,
        distillation_weight=1.5,
        distillation_weight_spread=0.6,
        distillation_schedule="rising",  # type: ignore[arg-type]
        initial_ensemble="../x",
        pooled_weight=1.1,
        label_smoothing=1.0,
        augmentation="cutout",
        precision="int8",  # type: ignore[arg-type]
        validation_fraction=0.9,
        seed=-1,
        promote="maybe",  # type: ignore[arg-type]
    )
    of_teacher = {"teacher.student", "teacher.epochs", "teacher.seed"}
    assert bad_fields(recipe) == sorted(
        set(recipe.to_dict()) - {"teacher", "nesterov"} | of_teacher
    )
    with pytest.raises(InvalidRecipe, match=r"members: 0 is not between 1 and 100; .*'vgg8'"):
        check_recipe(recipe)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("field", BOUNDS)
def test_a_number_that_is_none_is_refused(field: str, value: float) -> None:
    assert bad_fields(with_number(field, value)) == [field]


@pytest.mark.parametrize("field", BOUNDS)
def test_both_ends_of_a_range_belong_to_it_and_nothing_beyond(field: str) -> None:
    low, high, _ = BOUNDS[field]
    for value in (low, high):
        check_recipe(with_number(field, value))
    for value in (low - 1, high + 1):
        assert bad_fields(with_number(field, value)) == [field]


def test_every_number_has_bounds() -> None:
    numbers = {name for name, value in Recipe().to_dict().items() if type(value) in (int, float)}
    assert numbers | {"teacher.epochs", "teacher.seed"} == set(BOUNDS)


@pytest.mark.parametrize("name", ["..", ".x", "-x", "a/b", "a b", "ä", "x\n", "x" * 65])
@pytest.mark.parametrize("field", ["name", "dataset"])
def test_a_name_with_tricks_is_refused(field: str, name: str) -> None:
    assert bad_fields(replace(Recipe(), **{field: name})) == [field]  # type: ignore[arg-type]


def test_a_data_set_must_have_a_name_and_an_ensemble_need_not() -> None:
    assert bad_fields(Recipe(dataset="")) == ["dataset"]
    check_recipe(Recipe(name=""))


def test_members_cannot_be_coupled_with_nobody_or_on_scales_of_their_own() -> None:
    assert bad_fields(Recipe(pooled_weight=0.5, members=1)) == ["pooled_weight"]
    assert bad_fields(Recipe(pooled_weight=0.5, distillation_loss="standardised_kl")) == [
        "pooled_weight"
    ]
    untaught = Recipe(pooled_weight=0.5, distillation_loss="standardised_kl", teacher=())
    check_recipe(untaught)


def test_nesterov_without_momentum_is_refused() -> None:
    assert bad_fields(Recipe(nesterov=True, momentum=0.0)) == ["momentum"]
    check_recipe(Recipe(nesterov=False, momentum=0.0))


def test_a_teacher_is_checked_as_a_student_is() -> None:
    assert bad_fields(Recipe(teacher=(TrainedTeacher("lenet", 5),))) == ["teacher.student"]
    check_recipe(Recipe(teacher=(TrainedTeacher("resnet8x4", 5),)))
    check_recipe(Recipe(teacher=()))


# To JSON and back.


@pytest.mark.parametrize(
    "recipe",
    [
        *PRESETS.values(),
        Recipe(teacher=(), name="mine"),
        Recipe(teacher=(EnsembleTeacher("a-1"),)),
        Recipe(teacher=(TrainedTeacher("resnet8", 3), TrainedTeacher("resnet8", 3, seed=1))),
        Recipe(seed=2**53 - 1, learning_rate=1 / 3),
    ],
)
def test_a_recipe_survives_json(recipe: Recipe) -> None:
    assert recipe_from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_what_is_left_out_takes_its_default() -> None:
    assert recipe_from_dict({}) == Recipe()
    assert recipe_from_dict({"members": 3, "teacher": None}) == Recipe(members=3, teacher=())


def test_unknown_fields_are_refused_by_name() -> None:
    with pytest.raises(InvalidRecipe, match="lr: unknown field; optimizer: unknown field"):
        recipe_from_dict({"lr": 0.1, "epochs": 1, "optimizer": "adam"})


@pytest.mark.parametrize(
    "teacher",
    [
        *("resnet20", {"student": "resnet20"}, {}, {"ensemble": 1}, 5),
        *([None], [[]], [{"ensemble": "a-1"}, "resnet20"]),
    ],
)
def test_a_teacher_that_is_none_of_the_known_kinds_is_refused(teacher: object) -> None:
    with pytest.raises(InvalidRecipe, match=r"teacher: .* is neither"):
        recipe_from_dict({"teacher": teacher})


def test_a_recipe_from_json_is_checked() -> None:
    with pytest.raises(InvalidRecipe, match="epochs: 0 is not between"):
        recipe_from_dict({"epochs": 0})


# Names and digests.


def test_an_ensemble_without_a_name_is_called_after_what_it_is() -> None:
    assert Recipe(student="resnet8", members=3).display_name() == "resnet8-3-members"
    assert Recipe(name="mine").display_name() == "mine"


def test_the_digest_does_not_depend_on_the_order_of_fields() -> None:
    fields = Recipe().to_dict()
    assert digest_of(fields) == digest_of(dict(reversed(fields.items())))
    assert digest_of(fields) != digest_of(fields | {"seed": 1})
