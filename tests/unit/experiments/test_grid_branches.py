"""A sweep's runs that branch off others of it: what is checked before the first run starts, and what is listed."""

from pathlib import Path
from typing import Any

import pytest
from grids import write_grid
from histories import write_run

from apollo_ds.__main__ import main
from apollo_ds.config.load import load_recipe
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.errors import UserError
from apollo_ds.experiments.sweep.grid import Grid
from apollo_ds.experiments.sweep.runner import Sweep

TRUNK = {"steps": [20]}
LEVEL: dict[str, Any] = {"lr_schedule": "wsd", "decay_fraction": 0.2, "save_every": 2, "keep_every": 4}


def grid_of(folder: Path, branch: dict[str, Any], **changes: Any) -> Path:
    """A run of 20 steps, and a branch off it."""
    return write_grid(folder, TRUNK, {"grid": {"steps": [10]}, **branch}, set={**LEVEL, **changes})


def off(folder: Path, step: int, name: str = "steps=20") -> dict[str, Any]:
    return {"set": {"branch_from": f"{folder}/sweep/{name}@{step}"}}


def test_a_branch_off_a_run_that_is_not_there_yet_is_checked_without_it(tmp_path: Path) -> None:
    path = grid_of(tmp_path, off(tmp_path, 8))
    trunk, branch = Grid.read(path).cells
    assert f"branch_from={tmp_path}/sweep/steps=20@8" in branch.words
    found = Grid.parse(path).trunk(branch)
    assert found is not None
    assert (found.cell, found.step, found.is_awaited_by(branch)) == (trunk, 8, True)
    assert Grid.parse(path).trunk(trunk) is None


@pytest.mark.parametrize("key", ["set", "grid"])
def test_a_branch_is_found_wherever_it_is_named(key: str, tmp_path: Path) -> None:
    name = f"{tmp_path}/sweep/../sweep/steps=20@8"
    branch = {"set": {"branch_from": name}} if key == "set" else {"grid": {"branch_from": [name], "steps": [10]}}
    grid = Grid.read(grid_of(tmp_path, branch))
    assert grid.trunk(grid.cells[1]) is not None


@pytest.mark.parametrize(
    ("branch", "changes", "told"),
    [
        ({"step": 8}, {"stpes": 1}, "unknown key stpes"),
        ({"step": 24}, {}, "steps=10: branch_from: steps=20 has 20 steps, and none 24"),
        (
            {"step": 6},
            {},
            "steps=10: branch_from: steps=20 will not keep a checkpoint of step 6; give it a save_every and a "
            "keep_every that divide that",
        ),
        ({"step": 8}, {"keep_every": 0}, "steps=20 will not keep a checkpoint of step 8"),
        ({"step": 8}, {"save_every": 3}, "steps=20 will not keep a checkpoint of step 8"),
        ({"step": 8, "name": "steps=30"}, {}, "steps=30: there is no such run"),
    ],
)
def test_a_branch_that_will_never_start_is_refused_before_the_first_run(
    branch: dict[str, Any], changes: dict[str, Any], told: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError) as caught:
        Grid.read(grid_of(tmp_path, off(tmp_path, **branch), **changes))
    assert told in str(caught.value)


@pytest.mark.parametrize("step", [17, 20])
def test_the_start_of_the_decay_and_the_end_are_kept_without_being_asked_for(step: int, tmp_path: Path) -> None:
    path = grid_of(tmp_path, {**off(tmp_path, step), "grid": {"steps": [40]}}, save_every=100, keep_every=0)
    assert len(Grid.read(path).cells) == 2


def test_a_branch_before_its_run_is_refused(tmp_path: Path) -> None:
    first = {**LEVEL, "branch_from": f"{tmp_path}/sweep/steps=30@8"}
    path = write_grid(tmp_path, TRUNK, {"grid": {"steps": [30]}, "set": {"branch_from": None}}, set=first)
    with pytest.raises(UserError, match=r"steps=20: branch_from: steps=30 comes later in this file; put it before"):
        Grid.read(path)


def test_branches_are_listed_and_done_by_number_once_their_run_has_come_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = grid_of(tmp_path, off(tmp_path, 8))
    main(["sweep", str(path), "--list"])
    listed, told = capsys.readouterr()
    assert [line.split()[-1] for line in listed.splitlines()] == [f"out={tmp_path}/sweep/steps=20"]
    assert told == "branches: 1 not listed; each is listed once its source run has reached the step\n"
    with pytest.raises(UserError) as caught:
        Sweep(Grid.read(path)).run(2)
    assert (
        str(caught.value) == "--number 2: goes on from step 8 of steps=20, which is not there yet; do --number 1 first"
    )


def test_a_branch_awaits_its_checkpoint_and_not_the_end_of_its_run(tmp_path: Path) -> None:
    grid = Grid.read(grid_of(tmp_path, off(tmp_path, 8)))
    trunk, branch = grid.cells
    found = grid.trunk(branch)
    assert found is not None
    RunFolder(trunk.folder).create(load_recipe(grid.recipe, trunk.words))
    assert found.is_awaited_by(branch)
    (trunk.folder / "checkpoints" / "step-8").mkdir()
    assert not found.is_awaited_by(branch)
    (trunk.folder / "checkpoints" / "step-8").rmdir()
    write_run(branch.folder, [(1.0, 6.0)])  # it has begun, and needs the other no more
    assert not found.is_awaited_by(branch)


SHORTER: dict[str, Any] = {**LEVEL, "steps": 40, "keep_every": 2, "warmup_fraction": 0.1}


def test_each_run_of_a_part_gets_branches_where_their_decays_begin(tmp_path: Path) -> None:
    grid = Grid.read(write_grid(tmp_path, {"method": ["scratch"], "seed": [1, 2]}, set=SHORTER, branches=[10, 13, 30]))
    assert [cell.name for cell in grid.cells] == [
        "scratch,seed=1",
        "scratch,seed=2",
        *(f"scratch,seed={seed},steps={steps}" for seed in (1, 2) for steps in (10, 13, 30)),
    ]
    trunks = [grid.trunk(cell) for cell in grid.cells]
    assert [trunk and (trunk.cell.name, trunk.step) for trunk in trunks[:5]] == [
        None,
        None,
        ("scratch,seed=1", 8),
        ("scratch,seed=1", 10),  # a decay of 2.6 steps begins in the third before the end
        ("scratch,seed=1", 24),
    ]
    recipe = load_recipe(grid.recipe, grid.cells[4].unbranched_words)
    assert (recipe.steps, recipe.decay_fraction) == (30, 0.2)
    assert round(recipe.warmup_fraction * recipe.steps, 9) == 4  # as many steps of warm-up as the run had


_NEEDED = "branches: need steps, and a warmup_fraction and a decay_fraction between 0 and 1, in set"


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"branches": 10}, "branches: must be a list, not 10"),
        ({"branches": [0]}, "branches: must be a list of the steps at which each ends, not [0]"),
        (
            {"branches": [10], "set": {"steps": 20}},
            _NEEDED,
        ),
        (
            {"branches": [10], "set": {"decay_fraction": 0.2}, "grid": {"steps": [20]}},
            _NEEDED,
        ),
        (
            {"branches": [10], "grid": {"learning_rate": [0.1], "seed": [1]}, "further_seeds": [2]},
            "branches: further_seeds have none; list the seeds in grid",
        ),
    ],
)
def test_branches_that_nobody_can_plan_are_refused(keys: dict[str, Any], told: str, tmp_path: Path) -> None:
    path = write_grid(tmp_path, **{"grid": {"seed": [1]}, "set": SHORTER, **keys})
    with pytest.raises(UserError) as caught:
        Grid.parse(path)
    assert str(caught.value) == f"{path}: {told}"
