"""Recipes: the paper's numbers, the rates over the epochs, and refusals that say what would do."""

import dataclasses
from typing import Any, get_type_hints

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoprospect.errors import InputError
from geoprospect.models.recipe import RECIPES, SCHEDULES, Recipe, RecipeOptions


def rates(recipe: Recipe) -> list[float]:
    return [recipe.learning_rate(epoch) for epoch in range(recipe.epochs)]


def test_the_recipe_of_the_paper_is_the_paper_s() -> None:
    recipe = Recipe.of("gao2022")
    assert (recipe.epochs, recipe.batch, recipe.lr, recipe.momentum, recipe.weight_decay) == (120, 32, 0.01, 0.1, 1e-4)
    assert (recipe.schedule, recipe.halve_every, recipe.nesterov, recipe.rotations) == ("halve", 30, False, False)
    assert recipe.flips
    np.testing.assert_allclose(rates(recipe), np.repeat([0.01, 0.005, 0.0025, 0.00125], 30), rtol=1e-12)


def test_every_named_recipe_is_taken_by_its_name_and_is_frozen() -> None:
    for name, recipe in RECIPES.items():
        assert Recipe.of(name) == recipe
        with pytest.raises(dataclasses.FrozenInstanceError):
            recipe.lr = 1.0  # type: ignore[misc]
    assert Recipe.of() == RECIPES["default"] == Recipe()
    assert RECIPES["quick"].epochs < RECIPES["default"].epochs


def test_the_keywords_are_the_fields() -> None:
    assert list(get_type_hints(RecipeOptions)) == [field.name for field in dataclasses.fields(Recipe)]


def test_settings_replace_those_of_the_recipe_and_only_those() -> None:
    start = Recipe(lr=0.3, epochs=7)
    changed = Recipe.of(start, lr=0.2)
    assert (changed.lr, changed.epochs) == (0.2, 7)
    assert dataclasses.replace(changed, lr=0.3) == start
    assert Recipe.of("gao2022", momentum=0.9).schedule == "halve"


def test_a_cosine_rises_over_the_warm_up_to_the_rate_and_then_falls_to_nearly_nothing() -> None:
    recipe = Recipe(epochs=100, lr=0.6, schedule="cosine", warmup=5)
    found = rates(recipe)
    np.testing.assert_allclose(found[:6], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], rtol=1e-12)
    assert (np.diff(found[5:]) < 0).all()
    assert 0 < found[-1] < 0.6 / 1000
    middle = 5 + 95 / 2
    assert (found[int(middle)] + found[int(middle) + 1]) / 2 == pytest.approx(0.3, rel=1e-9)


@given(st.sampled_from(SCHEDULES), st.integers(1, 150), st.integers(0, 200), st.integers(1, 40))
def test_a_rate_is_above_0_in_every_epoch_and_reaches_its_highest(
    schedule: str, epochs: int, warmup: int, halve_every: int
) -> None:
    found = rates(Recipe(epochs=epochs, lr=0.5, schedule=schedule, warmup=warmup, halve_every=halve_every))
    assert min(found) > 0
    assert max(found) == 0.5


def test_one_epoch_alone_has_no_warm_up() -> None:
    assert rates(Recipe(epochs=1, lr=0.5)) == [0.5]
    assert rates(Recipe(epochs=8, lr=0.6, warmup=5))[:3] == pytest.approx([0.2, 0.4, 0.6])


def test_a_constant_rate_is_constant() -> None:
    assert set(rates(Recipe(epochs=50, lr=0.2, schedule="constant"))) == {0.2}


def test_halos_alternate_with_none_from_their_share_of_the_epochs_on() -> None:
    recipe = Recipe(epochs=9, halo=64)
    seen = [[recipe.halo_at(epoch, step) for step in range(4)] for epoch in range(9)]
    assert seen[:6] == [[0] * 4] * 6
    assert seen[6:] == [[0, 64, 0, 64], [64, 0, 64, 0], [0, 64, 0, 64]]
    always = Recipe(epochs=3, halo=32, halo_from=0)
    assert [always.halo_at(epoch, 1) for epoch in range(3)] == [32, 0, 32]
    assert not any(Recipe(epochs=3, halo=32, halo_from=1).halo_at(epoch, 1) for epoch in range(3))
    assert not any(Recipe(epochs=9).halo_at(epoch, step) for epoch in range(9) for step in range(4))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "epochs=0: needs a whole number"),
        ({"batch": 1}, "batch=1: needs a whole number of at least 2"),
        ({"lr": 0}, "lr=0: needs a number, more than 0"),
        ({"lr": float("nan")}, "lr=nan"),
        ({"lr": "fast"}, "lr='fast'"),
        ({"momentum": 1.5}, "momentum=1.5"),
        ({"weight_decay": -1}, "weight_decay=-1"),
        ({"nesterov": 1}, "nesterov=1: needs True or False"),
        ({"flips": "yes"}, "flips='yes': needs True or False"),
        ({"rotations": None}, "rotations=None: needs True or False"),
        ({"schedule": "cosinus"}, "schedule='cosinus'.*did you mean 'cosine'"),
        ({"halve_every": 0}, "halve_every=0"),
        ({"warmup": -1}, "warmup=-1"),
        ({"label_smoothing": 1.0}, "label_smoothing=1: leaves nothing to learn"),
        ({"label_smoothing": None}, "label_smoothing=None"),
        ({"class_weight": "balance"}, "class_weight='balance': needs None or 'balanced'"),
        ({"accumulate": 0}, "accumulate=0"),
        ({"halo": 40}, "halo=40: needs a multiple of 32 cells, for example halo=32"),
        ({"halo": 5}, "for example halo=32"),
        ({"halo": 120}, "for example halo=128"),
        ({"halo": -32}, "halo=-32"),
        ({"halo_from": 1.1}, "halo_from=1.1"),
        ({"norm": "layer"}, "norm='layer'"),
        ({"dropout": 1}, "dropout=1: leaves nothing to learn"),
        ({"dropout": -0.1}, "dropout=-0.1"),
        ({"prior": 0}, "prior=0: needs a number, more than 0"),
        ({"prior": 1}, "prior=1: leaves nothing to learn"),
        ({"prior": 0.1, "class_weight": "balanced"}, "prior=0.1: .*leave out class_weight"),
        ({"prior": 0.1, "label_smoothing": 0.1}, "leave out label_smoothing"),
        ({"patience": 0}, "patience=0"),
        ({"precision": "float16"}, "precision='float16'"),
        ({"momentum": 0}, "nesterov=True: needs a momentum above 0"),
        ({"epoch": 3}, "epoch=3: there is no such setting; did you mean 'epochs'.*weight_decay"),
        ({"blub": 3}, "blub=3: there is no such setting; there are epochs"),
    ],
    ids=str,
)
def test_what_is_out_of_range_or_contradicts_itself_is_refused_with_the_rule(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Recipe.of("default", **settings)


@pytest.mark.parametrize("name", ["gao2023", "", 3, None])
def test_an_unknown_recipe_is_refused_with_those_that_there_are(name: Any) -> None:
    with pytest.raises(InputError, match=r"recipe=.*'default', 'gao2022', 'quick'"):
        Recipe.of(name)


def test_whole_numbers_of_other_types_become_plain_ones() -> None:
    recipe = Recipe(epochs=np.int64(3), batch=8.0, lr=np.float32(0.5), patience=np.int32(2))  # type: ignore[arg-type]
    assert [type(value) for value in (recipe.epochs, recipe.batch, recipe.lr, recipe.patience)] == [
        int, int, float, int,
    ]  # fmt: skip
