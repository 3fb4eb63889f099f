"""What a recipe may say of its optimizer, and what a mistake is told."""

from pathlib import Path

import pytest
import yaml
from least_recipe import complaint

from apollo_ds.config.load import load_recipe, resolve
from apollo_ds.engine.optimizers import AdamW, Muon


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], AdamW()),
        (["optimizer=muon"], Muon()),
        (["optimizer=muon", "optimizer.momentum=0.9"], Muon(momentum=0.9)),
        (["optimizer={name: muon, update_scale: spectral}"], Muon(update_scale="spectral")),
        (["optimizer={name: adamw, embedding_lr_factor: 0.5}"], AdamW(embedding_lr_factor=0.5)),
    ],
    ids=str,
)
def test_a_name_or_a_mapping(words: list[str], expected: AdamW | Muon, recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file, words)
    assert recipe.optimizer == expected
    assert resolve(yaml.safe_load(yaml.safe_dump(recipe.plain())), "test") == recipe


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["optimizer=lion"], "optimizer: there is no 'lion'; choose one of adamw, muon"),
        (["optimizer=Muon"], "optimizer: there is no 'Muon'; did you mean muon?"),
        (["optimizer={momentum: 0.9}"], "optimizer.name is missing; choose one of adamw, muon"),
        (["optimizer={name: adamw, momentum: 0.9}"], "optimizer.momentum; optimizers that have it: muon"),
        (
            ["optimizer=muon", "optimizer.beta=0.9"],
            "unknown key optimizer.beta; the keys of muon are name, ",
        ),
        (["optimizer=muon", "optimizer.momentum=1"], "optimizer.momentum: must be less than 1, not 1"),
        (["optimizer=muon", "optimizer.nesterov=maybe"], "optimizer.nesterov: choose true or false"),
        (["optimizer=muon", "optimizer.matrix_lr_factor=0"], "optimizer.matrix_lr_factor: must be greater than 0"),
    ],
    ids=str,
)
def test_a_mistake_is_told(words: list[str], told: str, recipe_file: Path) -> None:
    assert told in complaint(recipe_file, *words)
