"""A family may have sizes of its own: each has a default, is read from a recipe, and is recorded with it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import Field, PositiveInt

from apollo_ds.config.load import load_recipe, resolve
from apollo_ds.config.packaged import DEFAULT_RECIPE
from apollo_ds.config.recipe import Recipe
from apollo_ds.config.recorded import with_defaults
from apollo_ds.errors import UserError
from apollo_ds.models.families import FAMILIES
from apollo_ds.models.families.gpt2 import Gpt2
from apollo_ds.models.shape import ModelShape
from apollo_ds.schedule.source import SourceRun
from apollo_ds.schedule.totals import Totals


class GroupedShape(ModelShape):
    """The sizes of a model whose query heads share keys and values."""

    num_kv_heads: PositiveInt = Field(default_factory=lambda sizes: sizes["num_heads"])


class Grouped(Gpt2):
    """A family with such sizes."""

    name = "grouped"
    shape_class = GroupedShape


@pytest.fixture(autouse=True, scope="module")
def grouped() -> Iterator[None]:
    FAMILIES["grouped"] = Grouped()
    _rebuild()
    yield
    del FAMILIES["grouped"]
    _rebuild()


def _rebuild() -> None:
    """Let the models of pydantic that hold a shape know the families that there are now."""
    for kind in (SourceRun, Recipe):
        kind.model_rebuild(force=True)


def test_a_recipe_that_names_the_family_alone_has_its_sizes() -> None:
    recipe = load_recipe(DEFAULT_RECIPE, ["model.family=grouped"])
    assert recipe.plain()["model"]["num_kv_heads"] == recipe.model.num_heads == 2
    assert resolve(recipe.plain(), "recorded") == recipe


def test_a_recipe_may_give_them() -> None:
    recipe = load_recipe(DEFAULT_RECIPE, ["model.family=grouped", "model.num_kv_heads=1"])
    assert recipe.plain()["model"]["num_kv_heads"] == 1
    assert recipe.schedule().stages[0].shape.model_dump()["num_kv_heads"] == 1


@pytest.mark.parametrize(
    ("override", "complaint"),
    [
        ("model.num_kv_heads=0", "model.num_kv_heads: must be greater than 0, not 0"),
        ("model.num_kv_head=1", "unknown key model.num_kv_head; did you mean model.num_kv_heads"),
        ("model.num_heads=3", "model: num_heads 3 does not divide hidden_size 128"),
    ],
)
def test_a_mistake_in_them_is_told(override: str, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        load_recipe(DEFAULT_RECIPE, ["model.family=grouped", override])


def test_another_family_has_none() -> None:
    with pytest.raises(UserError, match=r"unknown key model\.num_kv_heads"):
        load_recipe(DEFAULT_RECIPE, ["model.num_kv_heads=1"])


def test_a_source_is_recorded_with_them() -> None:
    shape = load_recipe(DEFAULT_RECIPE, ["model.family=grouped", "model.num_kv_heads=1"]).model
    spent = Totals(step=1)
    source = SourceRun(
        folder=Path("a"), checkpoint=Path("b"), step=1, steps=1, shape=shape, tokenizer=None, spent=spent
    )
    assert SourceRun(**source.model_dump(mode="json")).shape == shape


def test_what_was_recorded_without_them_has_their_fixed_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = load_recipe(DEFAULT_RECIPE, ["model.family=grouped"]).plain()
    del recorded["model"]["num_kv_heads"]
    monkeypatch.setattr(GroupedShape, "was", {"num_kv_heads": 1})
    assert with_defaults(recorded)["model"]["num_kv_heads"] == 1
