"""Mistakes are told in one sentence each, before torch is imported: within a second."""

import subprocess
import sys
from pathlib import Path

import pytest
from recipes import tiny, write

from apollo_ds.config.load import load_recipe
from apollo_ds.config.run_folder import RunFolder


@pytest.fixture
def recipe_file(tmp_path: Path) -> str:
    """A recipe that would train, with a corpus that is there."""
    return write(tiny("bert", tmp_path / "run"), tmp_path / "recipe.yaml")


def test_a_mistake_is_found_before_torch_is_imported(recipe_file: str) -> None:
    recipe = load_recipe(Path(recipe_file))
    RunFolder(recipe.out).create(recipe)
    program = """
import sys
from apollo_ds.__main__ import main
for override in sys.argv[2:]:
    try:
        main(["train", sys.argv[1], override])
    except SystemExit as stop:
        print(stop.code, "torch" in sys.modules)
"""
    mistakes = ["stpes=3", "data=/nowhere", "model.vocab_size=7", "method.layers=[6, 1]", "seed=1"]
    command = [sys.executable, "-c", program, recipe_file, *mistakes]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert finished.stdout.split("\n") == ["2 False"] * len(mistakes) + [""]
    assert len(finished.stderr.splitlines()) == len(mistakes)


def test_mistakes_in_files_are_found_before_torch_is_imported(tmp_path: Path) -> None:
    program = """
import sys
from apollo_ds.__main__ import main
for words in (["--help"], ["finetune", "--help"], ["finetune", "m", "--task", "rte", "--data", sys.argv[1]]):
    try:
        main(words)
    except SystemExit as stop:
        print(stop.code, "torch" in sys.modules, file=sys.stderr)
"""
    command = [sys.executable, "-c", program, str(tmp_path)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    first, second, told, third = finished.stderr.splitlines()
    assert (first, second, third) == ("0 False", "0 False", "2 False")
    assert told.startswith(f"apollo-ds: --data: {tmp_path} has no train.tsv")
    assert "apollo-ds finetune runs/mine --task rte --data glue/RTE" in finished.stdout
