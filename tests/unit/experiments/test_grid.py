"""A sweep's grid: which runs a file stands for, their names and their words."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from grids import GRID, NAMES, write_grid
from histories import write_run
from hypothesis import given
from hypothesis import strategies as st
from project import PROJECT

from apollo_ds.__main__ import main
from apollo_ds.config.load import load_recipe
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.errors import UserError
from apollo_ds.experiments.sweep.further import awaits_others, further_cells, known_cells
from apollo_ds.experiments.sweep.grid import Grid
from apollo_ds.experiments.sweep.words import compact, word


def mistake(folder: Path, grid: Any = GRID, *documents: dict[str, Any], **others: Any) -> str:
    with pytest.raises(UserError) as caught:
        Grid.read(write_grid(folder, grid, *documents, **others))
    return str(caught.value).removeprefix(f"{folder / 'grid.yaml'}: ")


def test_a_grid_is_every_combination_in_order_in_folders_named_from_it(tmp_path: Path) -> None:
    grid = Grid.read(write_grid(tmp_path, set={"steps": 12}))
    assert [cell.name for cell in grid.cells] == list(NAMES)
    assert grid.cells[2].folder == tmp_path / "sweep" / NAMES[2]
    assert grid.cells[2].words == (
        "steps=12",
        "method=[deep_jump,decreasing_drop]",
        "seed=1",
        f"out={tmp_path}/sweep/{NAMES[2]}",
    )
    recipe = load_recipe(grid.recipe, grid.cells[2].words)
    assert (recipe.steps, recipe.seed, recipe.method.name) == (12, 1, "deep_jump+decreasing_drop")


def test_a_dotted_key_reaches_into_the_method_wherever_it_stands(tmp_path: Path) -> None:
    path = write_grid(
        tmp_path, {"method.sampler": ["es", "us"], "method": ["apollo", {"name": "apollo", "draw": "step"}]}
    )
    grid = Grid.read(path)
    assert [cell.name for cell in grid.cells][:2] == ["method.sampler=es,apollo", "method.sampler=es,apollo,draw=step"]
    samplers = [load_recipe(grid.recipe, cell.words).method.model_dump()["sampler"] for cell in grid.cells]
    assert samplers == ["es", "es", "us", "us"]


def test_names_hold_no_slash_bracket_or_white_space(tmp_path: Path) -> None:
    grid = Grid.read(
        write_grid(tmp_path, {"method.layers": [[1, 3, 6], [2, 3, 6]], "deepspeed": ["ds_configs/zero1.json"]})
    )
    names = [cell.name for cell in grid.cells]
    assert names == [f"method.layers={layers},deepspeed=ds_configs_zero1.json" for layers in ("1-3-6", "2-3-6")]
    mixture = {"data/wiki": 0.7, "/data/law": 3}
    path = write_grid(tmp_path, {"data": [mixture, "x"], "deepspeed": [{"zero_optimization": {"stage": 2}}]})
    first, *_ = Grid.parse(path).cells
    assert first.name == "data=data_wiki=0.7+_data_law=3,deepspeed=zero_optimization=stage=2"


def test_a_further_document_has_what_the_first_sets_but_for_its_own_keys(tmp_path: Path) -> None:
    longer = {"grid": {"method": ["scratch"], "steps": [24, 48]}}
    slower = {"set": {"learning_rate": 0.5, "steps": 6}, "grid": {"seed": [9]}}
    path = write_grid(tmp_path, GRID, longer, slower, set={"steps": 12, "eval_every": 3, "learning_rate": 0.25})
    grid = Grid.read(path)
    assert [cell.name for cell in grid.cells] == [*NAMES, "scratch,steps=24", "scratch,steps=48", "seed=9"]
    recipes = [load_recipe(grid.recipe, cell.words) for cell in grid.cells]
    assert [recipe.steps for recipe in recipes] == [12, 12, 12, 12, 24, 48, 6]
    assert [recipe.learning_rate for recipe in recipes] == [*[0.25] * 6, 0.5]
    assert {recipe.eval_every for recipe in recipes} == {3}
    assert {cell.folder.parent for cell in grid.cells} == {tmp_path / "sweep"}


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ({"out": "x", "grid": {"seed": [3]}}, "document 2: out: stands in the first document, for all"),
        ({"gird": {"seed": [3]}}, "document 2: unknown key gird; did you mean grid?"),
        ({"set": {"steps": 6}}, "document 2: grid: is empty; list values of at least one of the recipe's keys"),
        ({"grid": {"method": ["scratch"], "seed": [2]}}, "grid: two runs would have the folder {sweep}/scratch,seed=2"),
        ({"grid": {"seed": [3]}, "further_seeds": 2}, "document 2: further_seeds: must be a list, not 2"),
        (
            {"grid": {"seed": [3]}, "further_seeds": ["a"]},
            "document 2: further_seeds: must be a list of seeds, not ['a']",
        ),
        (
            {"grid": {"seed": [3]}, "further_seeds": [4]},
            "document 2: further_seeds: run at the best learning rate; list learning_rate in grid",
        ),
    ],
)
def test_a_mistake_in_a_further_document_is_one_sentence(
    document: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    told = mistake(tmp_path, GRID, document)
    assert told.replace(str(tmp_path / "grid.yaml: "), "").startswith(expected.format(sweep=tmp_path / "sweep"))


RATES: dict[str, Any] = {"method": ["scratch", "stackbert"], "learning_rate": [0.1, 0.2], "seed": [1]}


def complete(folder: Path, method: str, rate: float, end: float) -> None:
    """A run of such a grid that came to its end."""
    made = write_run(folder / f"{method},learning_rate={rate},seed=1", [(1.0, 6.0), (2.0, end)], method)
    config = yaml.safe_load((made / "config.yaml").read_text())
    config["recipe"] |= {"learning_rate": rate, "seed": 1}
    (made / "config.yaml").write_text(yaml.safe_dump(config))
    (made / "report").mkdir()
    (made / "report" / "report.md").write_text("done")


def test_further_seeds_follow_at_the_best_rate_of_each_recipe(tmp_path: Path) -> None:
    known = {"grid": {"method": ["scratch"], "learning_rate": [0.2], "seed": [2]}}
    path = write_grid(tmp_path, RATES, known, further_seeds=[2, 3])
    grid = Grid.parse(path)
    own = [cell.name for cell in grid.cells]
    for method, rate, end in (("scratch", 0.1, 5.0), ("scratch", 0.2, 4.0), ("stackbert", 0.1, 4.5)):
        complete(grid.out, method, rate, end)
    assert awaits_others(grid)
    assert [cell.name for cell in known_cells(grid)] == own
    further = ["scratch,learning_rate=0.2,seed=3", *(f"stackbert,learning_rate=0.1,seed={seed}" for seed in (2, 3))]
    assert [cell.name for cell in further_cells(grid)] == further  # as if the fourth had failed
    complete(grid.out, "stackbert", 0.2, 4.6)
    assert not awaits_others(grid)
    assert [cell.name for cell in known_cells(grid)] == own + further
    assert known_cells(grid)[-1].words[-2:] == ("seed=3", f"out={grid.out}/{further[-1]}")


def test_a_list_says_that_more_will_follow(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["sweep", str(write_grid(tmp_path, RATES, further_seeds=[2])), "--list"])
    listed, told = capsys.readouterr()
    assert listed.count("\n") == 4
    assert told == "further_seeds: their runs are listed once all of these are complete\n"


@pytest.mark.parametrize(
    ("grid", "others", "expected"),
    [
        (GRID, {"gird": {}}, "unknown key gird; did you mean grid?"),
        ({}, {}, "grid: is empty; list values of at least one of the recipe's keys"),
        ({"seed": []}, {}, "grid.seed: must be a list of values, not []"),
        ({"seed": 3}, {}, "grid.seed: must be a list of values, not 3"),
        ([1], {}, "grid: must be a mapping of the recipe's keys, not [1]"),
        (GRID, {"out": None}, "out is missing"),
        (GRID, {"set": {"seed": 1}}, "seed stands in both set and grid; remove one"),
        (
            GRID,
            {"set": {"out": "x"}},
            "out: every run has its own; name the sweep's folder by the key `out` of this file",
        ),
    ],
)
def test_a_mistake_in_the_file_is_one_sentence(
    grid: Any, others: dict[str, Any], expected: str, tmp_path: Path
) -> None:
    assert mistake(tmp_path, grid, **others) == expected


def test_two_runs_with_one_folder_are_refused(tmp_path: Path) -> None:
    assert mistake(tmp_path, {"seed": [1, 2, 1]}) == (
        f"grid: two runs would have the folder {tmp_path}/sweep/seed=1; no value may come twice"
    )


@pytest.mark.parametrize(
    ("grid", "expected"),
    [
        ({"stpes": [1]}, "unknown key stpes; did you mean steps?"),
        ({"method": ["scratch", "apolo"]}, "method: there is no 'apolo'; did you mean apollo?"),
        ({"method": ["[scratch"]}, "method: '[scratch' is not a YAML value"),
        ({"learning_rate": [0.1, -1]}, "learning_rate: "),
    ],
)
def test_every_recipe_is_checked_before_the_first_starts(grid: dict[str, Any], expected: str, tmp_path: Path) -> None:
    told = mistake(tmp_path, grid)
    assert expected in told
    assert told.startswith(f"{next(iter(grid))}=" if "method" not in grid else grid["method"][-1])


def test_a_folder_of_another_recipe_is_refused_before_the_first_starts(tmp_path: Path) -> None:
    first = Grid.read(write_grid(tmp_path)).cells[1]
    RunFolder(first.folder).create(load_recipe(tmp_path / "recipe.yaml", first.words))
    Grid.read(write_grid(tmp_path))
    assert "this run was started with steps 20, not 10" in mistake(tmp_path, set={"steps": 10})


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=3),
    max_leaves=8,
)


@given(VALUES)
def test_values_come_back_from_their_words(value: Any) -> None:
    text = compact(value)
    assert yaml.safe_load(text) == value
    assert len(text.split()) == 1


def test_a_list_cannot_hold_white_space(tmp_path: Path) -> None:
    grid = Grid.read(write_grid(tmp_path, {"data": ["my text"]}))
    with pytest.raises(UserError, match=r"^--list: 'data=my text' has a space in it"):
        grid.lines(grid.cells)


def test_the_sweeps_of_the_documentation_are_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    page = (PROJECT / "docs" / "guides" / "sweep.md").read_text()
    example, seeds, parts, branches = (block.split("```")[0] for block in page.split("```yaml\n")[1:])
    assert yaml.safe_load(example) == yaml.safe_load((PROJECT / "launch" / "sweeps" / "demo.yaml").read_text())
    grid = Grid.read(Path("launch/sweeps/demo.yaml"))
    assert len(grid.cells) == len(grid.lines(grid.cells)) == 18
    assert grid.cells[6].folder == Path("runs/sweep/apollo,learning_rate=0.0007,seed=1")
    for text, runs in ((seeds, 6), (parts, 8), (branches, 6)):
        (tmp_path / "grid.yaml").write_text(text)
        assert len(Grid.read(tmp_path / "grid.yaml").cells) == runs


def test_text_stays_as_it_is() -> None:
    assert word("learning_rate", "2e-3") == "learning_rate=2e-3"
    assert word("learning_rate", 1e-05) == "learning_rate=1.0e-05"
    assert word("masking", "token") == "masking=token"
