"""What a grid costs: each run as `plan` says, and in the whole no step twice."""

import sys
from pathlib import Path
from typing import Any

import cost
import pytest
import yaml
from cost import cost_table, costs, main
from pytest import approx

from apollo_ds.config.load import load_recipe
from apollo_ds.planning.plan import plan

RECIPE = "launch/recipes/demo.yaml"
MODEL = {"family": "gpt2", "num_layers": 4, "hidden_size": 32, "num_heads": 2, "intermediate_size": 128}
SHARED: dict[str, Any] = {
    "model": {**MODEL, "vocab_size": 1024, "max_position_embeddings": 64},
    "data": "a text that is not there",
    "seq_len": 64,
    "global_batch_size": 8,
    "steps": 100,
    "lr_schedule": "wsd",
    "warmup_fraction": 0.1,
    "decay_fraction": 0.2,
    "save_every": 20,
    "keep_every": 20,
}
GROWING = {"name": "apollo", "layers": [2, 4], "grow_at": [0.25], "sampler": "none"}


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """Two fixed models with a branch of 50 steps each, which begins at 40, and one that grows."""
    fixed = {"grid": {"method": ["scratch"], "model.num_layers": [4, 2]}, "branches": [50]}
    first = {"recipe": RECIPE, "set": SHARED, **fixed, "out": str(tmp_path / "runs")}
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump_all([first, {"grid": {"method": [GROWING]}}], sort_keys=False))
    return path


def step_flops(layers: int) -> float:
    """Of a fixed model of so many layers, by `plan`."""
    words = [f"{key}={value}" for key, value in SHARED.items() if key not in ("model", "data")]
    model = {**SHARED["model"], "num_layers": layers}
    total = plan(load_recipe(RECIPE, [*words, f"model={model}", "method=scratch"]))["total"]
    assert total["steps"] == 100
    return float(total["flops"] / 100)


def test_a_branch_costs_the_whole_way_and_takes_its_own_steps_only(grid: Path) -> None:
    deep, shallow = step_flops(4), step_flops(2)
    runs = costs(grid)
    assert [run.flops for run in runs] == [
        approx(100 * deep),
        approx(100 * shallow),
        approx(50 * deep),
        approx(50 * shallow),
        approx(25 * shallow + 75 * deep),
    ]
    assert [run.own_flops for run in runs[2:]] == [approx(10 * deep), approx(10 * shallow), runs[4].flops]
    assert [run.tokens for run in runs] == [100 * 512, 100 * 512, 50 * 512, 50 * 512, 100 * 512]
    assert runs[0].parameters == runs[4].parameters > runs[1].parameters


def test_the_whole_grid_counts_shared_steps_once(grid: Path) -> None:
    deep, shallow = step_flops(4), step_flops(2)
    whole = 110 * deep + 110 * shallow + 25 * shallow + 75 * deep
    table = cost_table(costs(grid), whole / 3600)
    assert table.rows[-1] == ["the whole grid, shared steps once", "", "", f"{whole:.2e}", "1.00"]
    parameters = costs(grid)[0].parameters
    assert table.rows[0][1:3] == [f"{parameters:,}", f"{100 * 512 / parameters:.1f}"]
    assert table.rows[0][4] == f"{100 * deep / whole:.2f}"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["none.yaml"], "cost.py: none.yaml: there is no such file; name the file of a sweep"),
        (["none.yaml", "--flops-per-second", "fast"], "must be a number above 0, such as 3e+14, not fast"),
        (["none.yaml", "--flops-per-second", "0"], "must be a number above 0, such as 3e+14, not 0"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    words: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [cost.__file__, *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith(told)
