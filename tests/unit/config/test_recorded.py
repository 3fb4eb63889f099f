"""A recipe that an earlier version recorded says what that version did, also where today's default is another."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from recipes import tiny

from apollo_ds.config.load import load_resolved
from apollo_ds.config.recipe import Recipe
from apollo_ds.config.recorded import with_defaults
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.errors import UserError
from apollo_ds.models.shape import ModelShape


def test_runs_of_before_the_document_mask_had_none(old: tuple[Recipe, dict[str, Any]]) -> None:
    _, values = old
    values["seq_len"] = 2048
    del values["document_mask"]
    assert with_defaults(values)["document_mask"] is False


@pytest.fixture
def old(tmp_path: Path) -> tuple[Recipe, dict[str, Any]]:
    """A recipe, and the same as a version recorded it that knew neither `masking` nor `model.initializer_range`."""
    recipe = tiny("bert", tmp_path / "run")
    values = recipe.plain()
    del values["masking"], values["model"]["initializer_range"]
    recipe.out.mkdir()
    (recipe.out / "config.yaml").write_text(yaml.safe_dump({"recipe": values}))
    return recipe, values


def test_keys_that_did_not_exist_have_their_defaults(old: tuple[Recipe, dict[str, Any]]) -> None:
    recipe, values = old
    assert with_defaults(values) == recipe.plain()
    assert load_resolved(recipe.out / "config.yaml") == recipe
    RunFolder(recipe.out).check(recipe)


def test_a_version_that_did_something_else_is_told_by_was(
    old: tuple[Recipe, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe, values = old
    monkeypatch.setattr(Recipe, "was", {"masking": "whole_word"})
    monkeypatch.setattr(ModelShape, "was", {"initializer_range": 0.05})
    assert with_defaults(values)["masking"] == "whole_word"
    assert with_defaults(values)["model"]["initializer_range"] == 0.05
    resolved = load_resolved(recipe.out / "config.yaml")
    assert (resolved.masking, resolved.model.initializer_range) == ("whole_word", 0.05)
    with pytest.raises(UserError, match="started with masking whole_word, not token"):
        RunFolder(recipe.out).check(recipe)


def test_a_recorded_key_is_taken_as_it_is(old: tuple[Recipe, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    _, values = old
    monkeypatch.setattr(Recipe, "was", {"masking": "whole_word"})
    assert with_defaults({**values, "masking": "token"})["masking"] == "token"
