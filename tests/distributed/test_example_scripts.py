"""The scripts in examples/, with a few steps, on ranks that are there already."""

import contextlib
import runpy
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from corpora import corpus, write_real_text
from project import PROJECT
from ranks import pool
from recipes import tiny, write
from runs import train as train_without_report

import apollo_ds
from apollo_ds.__main__ import main as command
from apollo_ds.config.load import load_recipe
from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.processes import Processes
from apollo_ds.experiments.sweep.further import further_cells
from apollo_ds.experiments.sweep.grid import Grid
from apollo_ds.planning.outlook import Rate
from apollo_ds.training import new_recipe
from apollo_ds.training.run import Outcome, train
from data_prep.__main__ import main as prepare

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a text, which is left when the test ends."""
    monkeypatch.chdir(tmp_path)
    write_real_text(tmp_path / "text.jsonl")
    return tmp_path


def example(name: str, **changes: Any) -> Any:
    """What a script defines, with other functions in place of some of its own."""
    names = runpy.run_path(str(PROJECT / "examples" / f"{name}.py"))
    names["main"].__globals__.update(changes)
    return SimpleNamespace(**{**names, **changes})


def train_in(processes: Processes, folder: Path, recipe: Recipe) -> Outcome:
    """Train from the first step to the report, with paths that begin in a folder."""
    with contextlib.chdir(folder):
        return train(recipe, processes, concludes=True)


def trained(*words: str) -> Outcome:
    """In place of `apollo_ds.train`: the same on ranks that are there already."""
    return pool(2).run(train_in, Path.cwd(), load_recipe(Path(words[0]), words[1:]))[0]


def run_here(*words: str, **_: Any) -> None:
    """In place of a script's `run`: the same in this process, and training on ranks that are there already."""
    print("$", *words)
    if words[0] == "apollo-prep":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", [*words])
            prepare()
    elif words[1] == "train":
        trained(*words[2:])
    else:
        with contextlib.suppress(SystemExit) if words[1] == "sweep" else contextlib.nullcontext():
            command(words[1:])


def test_from_a_text_to_a_model_that_writes(folder: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Rate(1e3, memory_bytes=700_000_000, start_seconds=45, evaluation_seconds=0.1, save_seconds=0.1)
    monkeypatch.setattr(new_recipe, "measure", lambda recipe, ranks: slow)
    words = ("text.jsonl", "--minutes", "1", "--prompt", "An object is", "--out", "here")
    example("pretrain_on_your_text", run=run_here).main(*words)
    said = capfd.readouterr().out
    assert [line.split()[2] for line in said.splitlines() if line.startswith("$")] == [
        "build", "init", "plan", "train", "generate",
    ]  # fmt: skip
    assert "\nAn object is" in said
    for name in ("data/mine/manifest.json", "my.yaml", "runs/my/report/report.md", "runs/my/export/config.json"):
        assert (folder / "here" / name).is_file()
    monkeypatch.chdir(folder)
    example("pretrain_on_your_text", run=run_here).main(*words)  # nothing is prepared or written anew
    assert "$ apollo-ds init" not in capfd.readouterr().out


def sweep_here(*words: str, **more: Any) -> None:
    """In place of a script's `run`: a sweep whose runs are trained before the command begins, and so only compared."""
    if words[1] == "sweep":
        grid = Grid.read(Path(words[2]))
        for cells in (lambda: grid.cells, lambda: further_cells(grid)):  # the latter follow from the former
            for cell in cells():
                recipe = load_recipe(grid.recipe, cell.words)
                assert pool(2).run(train_short, Path.cwd(), recipe) == [None, None]
                (recipe.out / "report").mkdir()
                (recipe.out / "report" / "report.md").write_text("none in so short a test")
    run_here(*words, **more)


def train_short(processes: Processes, folder: Path, recipe: Recipe) -> str | None:
    with contextlib.chdir(folder):
        return train_without_report(processes, recipe)


def test_two_methods_get_the_same_cost_and_the_same_chances(folder: Path, capfd: Capture) -> None:
    recipe = tiny("llama", "run", method="scratch", steps=24, data=str(corpus("llama", real=True).folder))
    write(recipe, folder / "mine.yaml")
    method = "{name: apollo, layers: [1, 6], grow_at: [0.4]}"
    script = example("compare_two_methods", run=sweep_here)
    script.main(method, "--recipe", "mine.yaml", "--seeds", "2", "--out", "here")
    said = capfd.readouterr().out
    assert "\nAnswer: " in said
    runs = [yaml.safe_load(path.read_text())["recipe"] for path in (folder / "here" / "runs").glob("*/config.yaml")]
    grown = [run for run in runs if run["method"]["name"] == "apollo"]
    assert len(grown) == 4 and len(runs) == 8  # three rates, and the best one again with the other seed
    least, *_, most = sorted(Outcome.read(folder / "here" / run["out"]).totals.flops for run in runs)
    assert least == pytest.approx(most, rel=0.06)
    assert all(run["steps"] > 24 for run in grown)


@pytest.mark.parametrize(
    ("losses", "answer"),
    [
        ([[3.0, 3.2, 3.1], [2.9, 3.11, 3.0]], "new ends lower than old here"),
        ([[2.9, 3.11, 3.0], [3.0, 3.2, 3.1]], "new ends higher than old here"),
        ([[3.0, 3.2, 3.1], [2.99, 3.1, 3.095]], "3 seeds cannot tell new from old"),  # lower by each of them
    ],
)
def test_the_answer_needs_more_than_its_spread(losses: list[list[float]], answer: str, capsys: Capture) -> None:
    example("compare_two_methods").print_answer(["old", "new"], losses, 5.0)
    assert answer in capsys.readouterr().out


def test_there_is_no_answer_where_nothing_was_learned(capsys: Capture) -> None:
    example("compare_two_methods").print_answer(["old", "new"], [[3.0, 3.2], [2.0, 2.3]], unigram_entropy=3.0)
    assert "Answer: none, because old learned nothing" in capsys.readouterr().out


def test_a_best_rate_at_the_end_of_the_grid_is_told(capsys: Capture) -> None:
    example("compare_two_methods").print_limits(["old", "new"], [2e-3, 4e-3], [1e-3, 2e-3, 4e-3], [40, 60])
    said = capsys.readouterr().out
    assert "- new at its best: its best rate is the highest" in said
    assert "- old at its best" not in said
    assert "it took 60 steps, and old 40" in said


def test_the_small_model_s_recipe_can_be_trained(folder: Path) -> None:
    (folder / "base.yaml").write_text(example("compare_two_methods").BASE)
    assert load_recipe(folder / "base.yaml", ["method=short_to_long"]).learning_rate == pytest.approx(4e-3)


def test_a_saved_model_grows_and_keeps_its_loss(folder: Path, capfd: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apollo_ds, "train", trained)
    script = example("grow_a_hugging_face_model")
    script.main("--text", "text.jsonl", "--steps", "4", "--out", "here")
    said = capfd.readouterr().out
    before, after = (line.split()[-1] for line in said.splitlines() if line.startswith("Held-out loss of"))
    assert before == after
    assert "LlamaModel of 6 layers" in said

    # Its own output, grown again: the model that the first argument names.
    monkeypatch.chdir(folder)
    script.main("here/runs/deeper/export", "--text", "text.jsonl", "--steps", "4", "--out", "there")
    assert "LlamaModel of 9 layers" in capfd.readouterr().out
