"""Sweeps: which runs a file stands for, and what becomes of them when they end, fail or are stopped."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from histories import write_run
from hypothesis import given
from hypothesis import strategies as st
from launching import PROJECT, environment
from recipes import tiny, write

from apollo_ds.__main__ import main
from apollo_ds.config.load import load_recipe
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.errors import UserError
from apollo_ds.experiments.sweep.grid import Grid
from apollo_ds.experiments.sweep.runner import Sweep
from apollo_ds.experiments.sweep.words import compact, word

GRID: dict[str, Any] = {"method": ["scratch", "[deep_jump, decreasing_drop]"], "seed": [1, 2]}
NAMES = ("scratch,seed=1", "scratch,seed=2", "deep_jump+decreasing_drop,seed=1", "deep_jump+decreasing_drop,seed=2")


def write_grid(folder: Path, grid: Any = GRID, **others: Any) -> Path:
    """A sweep's file, with a tiny recipe beside it."""
    recipe = write(tiny("gpt2", folder / "unused"), folder / "recipe.yaml")
    path = folder / "grid.yaml"
    values = {"recipe": recipe, "grid": grid, "out": str(folder / "sweep"), **others}
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def mistake(folder: Path, grid: Any = GRID, **others: Any) -> str:
    with pytest.raises(UserError) as caught:
        Grid.read(write_grid(folder, grid, **others))
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
        ({"method": ["scratch", "apolo"]}, "method: choose one of"),
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
    assert "this run was started with steps 20, not 40" in mistake(tmp_path, set={"steps": 40})


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


def test_the_list_is_what_the_slurm_script_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_grid(tmp_path, {**GRID, "learning_rate": [1.0e-5]})
    main(["sweep", str(path), "--list"])
    lines = capsys.readouterr().out
    assert lines.count("\n") == 4
    (tmp_path / "runs.txt").write_text(lines)
    script = (PROJECT / "launch" / "pretrain.sbatch").read_text()
    reading = script[script.index("words=()") : script.index("if [ -d .venv")]
    command = f"set -euo pipefail\n{reading}\nprintf '%s\\n' \"${{words[@]}}\""
    task = {**os.environ, "SLURM_ARRAY_TASK_ID": "3"}
    arguments = [f"@{tmp_path}/runs.txt"]
    done = subprocess.run(
        ["bash", "-c", command, "_", *arguments], env=task, capture_output=True, text=True, check=True
    )
    recipe, *words = done.stdout.splitlines()
    cell = Grid.read(path).cells[2]
    assert tuple(words) == cell.words
    assert load_recipe(Path(recipe), words).out == cell.folder


def test_a_list_cannot_hold_white_space(tmp_path: Path) -> None:
    grid = Grid.read(write_grid(tmp_path, {"data": ["my text"]}))
    with pytest.raises(UserError, match=r"^--list: 'data=my text' has white space in it"):
        grid.lines(grid.cells)


def test_the_sweep_of_the_documentation_is_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    page = (PROJECT / "docs" / "compare.md").read_text()
    example = page.split("```yaml\n")[1].split("```")[0]
    assert yaml.safe_load(example) == yaml.safe_load((PROJECT / "launch" / "sweeps" / "demo.yaml").read_text())
    grid = Grid.read(Path("launch/sweeps/demo.yaml"))
    assert len(grid.cells) == len(grid.lines(grid.cells)) == 18
    assert grid.cells[6].folder == Path("runs/sweep/apollo,learning_rate=0.0007,seed=1")


def test_text_stays_as_it_is() -> None:
    assert word("learning_rate", "2e-3") == "learning_rate=2e-3"
    assert word("learning_rate", 1e-05) == "learning_rate=1.0e-05"
    assert word("masking", "token") == "masking=token"


# A launcher that notes what it was given and ends as a file named after the run's folder says; without one, it leaves
# the run complete.
LAUNCHER = """
out=${@: -1}; out=${out#out=}; name=${out##*/}; here=%s
echo "$name" >> "$here/started"
if [ -f "$here/$name.sh" ]; then . "$here/$name.sh"; fi
mkdir -p "$(dirname "$out")"
cp -rT "$here/complete/$name" "$out"
"""


@pytest.fixture
def sweep(tmp_path: Path) -> Sweep:
    """Four runs, and a launcher that knows what each would leave."""
    grid = Grid.read(write_grid(tmp_path))
    for cell in grid.cells:
        made = RunFolder(write_run(tmp_path / "complete" / cell.name, [(40, 3.0), (100, 2.0)]))
        made.create(load_recipe(grid.recipe, cell.words))
        made.report.mkdir()
        (made.report / "report.md").write_text("done")
    launcher = tmp_path / "launcher.sh"
    launcher.write_text(LAUNCHER % tmp_path)
    return Sweep(grid, launcher)


def started(folder: Path) -> list[str]:
    return (folder / "started").read_text().splitlines() if (folder / "started").exists() else []


def test_runs_follow_one_another_and_are_compared(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep.run() == 0
    assert started(tmp_path) == list(NAMES)
    printed = capsys.readouterr().out
    assert "To the final held-out loss of scratch, 2.0000 nats per token, the mean of 2 seeds:" in printed
    assert "deep_jump+decreasing_drop" in printed


def test_what_is_complete_is_not_run_again_and_what_is_not_is(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep.run() == 0
    (sweep.grid.cells[1].folder / "report" / "report.md").unlink()
    metrics = sweep.grid.cells[2].folder / "metrics.jsonl"
    metrics.write_text(metrics.read_text().replace('{"event": "end"', '{"event": "checkpoint"'))
    (tmp_path / "started").unlink()
    capsys.readouterr()
    main(["sweep", str(tmp_path / "grid.yaml"), "--list"])
    assert capsys.readouterr().out.splitlines() == sweep.grid.lines(sweep.grid.cells[1:3])
    assert sweep.run() == 0
    assert started(tmp_path) == list(NAMES[1:3])
    capsys.readouterr()
    main(["sweep", str(tmp_path / "grid.yaml"), "--list"])
    assert capsys.readouterr().out == ""


def test_a_failing_run_does_not_end_the_sweep_but_is_named(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / f"{NAMES[0]}.sh").write_text("exit 3")
    (tmp_path / f"{NAMES[2]}.sh").write_text("kill -9 $$")
    assert sweep.run() == 1
    assert started(tmp_path) == list(NAMES)
    told = capsys.readouterr().out.splitlines()[-2:]
    assert told == [f"failed: {NAMES[0]}, with exit code 3", f"failed: {NAMES[2]}, with exit code -9"]


def test_a_run_that_was_stopped_stops_the_sweep(
    sweep: Sweep, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / f"{NAMES[1]}.sh").write_text("exit 75")
    assert sweep.run() == 75
    assert started(tmp_path) == list(NAMES[:2])
    assert f"stopped at {NAMES[1]}; the same command goes on from there" in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_reaches_the_run_once_and_starts_no_other(
    number: signal.Signals, sweep: Sweep, tmp_path: Path
) -> None:
    saving = 'trap \'echo saved >> "$here/saved"; exit 75\' TERM; touch "$here/ready"; while :; do sleep 0.05; done'
    (tmp_path / f"{NAMES[0]}.sh").write_text(saving)

    def send() -> None:
        while not (tmp_path / "ready").exists():
            time.sleep(0.02)
        os.kill(os.getpid(), number)

    inherited = signal.signal(number, signal.SIG_DFL)  # what starts the tests may ignore it, which a sweep respects
    thread = threading.Thread(target=send)
    thread.start()
    try:
        assert sweep.run() == 75
        assert signal.getsignal(number) == signal.SIG_DFL
    finally:
        thread.join()
        signal.signal(number, inherited)
    assert (tmp_path / "saved").read_text() == "saved\n"
    assert started(tmp_path) == [NAMES[0]]


def test_one_run_alone_can_be_chosen(sweep: Sweep, tmp_path: Path) -> None:
    assert sweep.run(3) == 0
    assert started(tmp_path) == [NAMES[2]]
    for number in (0, 5):
        with pytest.raises(UserError, match=rf"^--number {number}: the grid has the runs 1 to 4$"):
            sweep.run(number)


def test_without_a_launcher_nothing_starts(tmp_path: Path) -> None:
    sweep = Sweep(Grid.read(write_grid(tmp_path)), tmp_path / "nowhere.sh")
    with pytest.raises(UserError, match=r"nowhere\.sh: not found; sweep runs from a checkout"):
        sweep.run()


@pytest.fixture
def _nothing_left_in_shared_memory() -> Iterator[None]:
    """DeepSpeed's CPU all-reduce leaves its buffers behind."""
    shared = Path("/dev/shm")
    before = set(shared.glob("deepspeed_allreduce_buffer_*"))
    yield
    for buffer in set(shared.glob("deepspeed_allreduce_buffer_*")) - before:
        buffer.unlink(missing_ok=True)


def test_two_runs_through_the_real_launcher(tmp_path: Path, _nothing_left_in_shared_memory: None) -> None:
    small = {"steps": 4, "eval_every": 2, "save_every": 4, "method.layers": [2, 6], "method.grow_at": [0.5]}
    path = write_grid(tmp_path, {"method": ["apollo"], "seed": [1, 2]}, set=small)
    shell = {key: value for key, value in environment().items() if key != "MASTER_PORT"}
    command = [sys.executable, "-m", "apollo_ds", "sweep", str(path)]

    def swept() -> str:
        done = subprocess.run(command, cwd=PROJECT, env=shell, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    first = swept()
    assert first.count("finished") >= 2
    assert all((tmp_path / "sweep" / f"apollo,seed={seed}" / "export" / "config.json").is_file() for seed in (1, 2))
    again = swept()
    assert [line for line in again.splitlines() if line.endswith(": complete")] == [
        "1/2  apollo,seed=1: complete",
        "2/2  apollo,seed=2: complete",
    ]
    assert "apollo" in again
    assert "1, 2" in again
