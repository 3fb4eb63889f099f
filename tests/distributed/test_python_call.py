"""`apollo_ds.train` as a program or a notebook calls it, from a folder outside of the project."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from launching import environment, finish, last_saved, ranks_of, wait_for_steps
from project import PROJECT
from recipes import tiny, write

from apollo_ds.experiments.events import read_metrics


@pytest.fixture
def shell() -> dict[str, str]:
    """A user's shell in which the package can be imported."""
    return {**environment(), "PYTHONPATH": str(PROJECT)}


def call(program: str, folder: Path, shell: dict[str, str], *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", program, *words],
        cwd=folder,
        env=shell,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


_CALLS = """
import sys
import apollo_ds
print(sorted({"torch", "pydantic", "numpy"} & set(sys.modules)), apollo_ds.__version__)
recipe, nowhere = sys.argv[1:]
def told(*words):
    try:
        return apollo_ds.train(*words)
    except apollo_ds.UserError as error:
        return f"told: {error}"
print(told(recipe, "stpes=3"))
print(told(recipe, f"out={nowhere}"))
outcome = told(recipe)
print(outcome.folder, outcome.totals.step, outcome.loss, f"{outcome.totals.seconds:.3g}")
print("torch" in sys.modules, apollo_ds.load_recipe(recipe).steps)
"""


def test_a_call_trains_as_the_command_does(tmp_path: Path, shell: dict[str, str]) -> None:
    recipe = tiny("gpt2", tmp_path / "run", steps=4, eval_every=2, method="scratch", peak_flops=1e9)
    path = write(recipe, tmp_path / "recipe.yaml")
    nowhere = "/proc/apollo/run"
    code, output = finish(call(_CALLS, tmp_path, shell, path, nowhere))
    assert code == 0, output
    first, *shown, outcome, last = output.splitlines()
    assert first.startswith("[] ")
    mistake, complaint = (line for line in shown if line.startswith("told: "))
    assert mistake == "told: command line: unknown key stpes; did you mean steps?"
    only_ranks_find_out = (
        "told: out: cannot write to /proc/apollo: No such file or directory; mend that, or use another folder"
    )
    assert complaint == f"{only_ranks_find_out} with out=..."
    assert "apollo-ds: " not in output
    end = read_metrics(recipe.out / "metrics.jsonl")[-1]
    assert outcome == f"{recipe.out} 4 {end['loss']} {end['seconds']:.3g}"  # the report is no part of the time
    assert any(f"{end['loss']:.4f} nats per token" in line for line in shown)
    assert last == "False 4"


_INTERRUPTED = """
import signal
import sys
import apollo_ds
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's job in the background ignores it
for _ in range(2):
    try:
        apollo_ds.train(*sys.argv[1:], ranks=1)
    except (KeyboardInterrupt, apollo_ds.RunFailed) as end:
        print(f"ended: {end!r}", flush=True)
"""


def test_an_interrupt_saves_and_a_dead_rank_is_named(tmp_path: Path, shell: dict[str, str]) -> None:
    recipe = tiny("gpt2", tmp_path / "run", steps=5000, save_every=5000, log_every=1, method="scratch", peak_flops=1e9)
    words = (write(recipe, tmp_path / "recipe.yaml"), f"out={recipe.out}")
    process = call(_INTERRUPTED, tmp_path, shell, *words)
    wait_for_steps(process, recipe.out, 5)
    process.send_signal(signal.SIGINT)
    wait_for_steps(process, recipe.out, 5, resumes=1)
    saved = last_saved(recipe.out)
    os.kill(ranks_of(recipe.out)[0].pid, signal.SIGKILL)
    code, output = finish(process)
    assert code == 0, output
    ends = [line for line in output.splitlines() if line.startswith("ended: ")]
    assert ends[0] == "ended: KeyboardInterrupt()"
    assert ends[1].startswith("ended: RunFailed(")
    assert 5 <= saved == last_saved(recipe.out)
    assert not ranks_of(recipe.out)
