"""Stopping: a signal on one rank stops all of them after a step, saved; the same command then goes on."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from launching import SCRIPT, TIMEOUT_SECONDS, finish, start
from ranks import pool
from recipes import tiny, write
from runs import events, train, trained, trainer

from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.processes import Processes
from apollo_ds.experiments.events import read_metrics
from apollo_ds.training.faults.stop_signal import EXIT_CODE, Stopped, StopRequest


def train_until_signalled(processes: Processes, recipe: Recipe, signalled_at: int, number: signal.Signals) -> str:
    """The second rank gets a signal in the middle of a step; returns what the run says when it stops."""
    request = StopRequest()
    before = {kind: signal.getsignal(kind) for kind in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}
    request.listen()
    run = trainer(processes, recipe, request)
    step = run.engine.train_step

    def step_with_signal(*arguments: object) -> object:
        if run.totals.step == signalled_at and processes.rank == 1:
            os.kill(os.getpid(), number)
        return step(*arguments)

    run.engine.train_step = step_with_signal
    try:
        with pytest.raises(Stopped) as stopped:
            run.train()
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)
        run.close()
    return str(stopped.value)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_on_one_rank_stops_all_of_them_and_changes_nothing(number: signal.Signals, tmp_path: Path) -> None:
    whole, stopped = (tiny("gpt2", tmp_path / name, method="scratch") for name in ("whole", "stopped"))
    pool(2).run(train, whole)
    said = pool(2).run(train_until_signalled, stopped, 6, number)
    # In the middle of step 7: its answer was asked for before; that of step 8 says stop.
    assert said[0] == said[1]
    assert said[0].startswith(number.name)
    assert said[0].endswith("(1 of 2 ranks): stopped after step 8, saved")
    assert (stopped.out / "checkpoints" / "latest").read_text() == "step-8"
    assert pool(2).run(train, stopped) == [None, None]
    assert events(stopped, "resume") == [{"event": "resume", "step": 8, "ranks": 2, "zero_stage": 1}]
    assert trained(stopped) == trained(whole)


def test_the_same_signal_a_second_time_ends_the_process() -> None:
    program = (
        "import os, signal, time; from apollo_ds.stopping import StopRequest; r = StopRequest(); r.listen()\n"
        "os.kill(os.getpid(), signal.SIGTERM); os.kill(os.getpid(), signal.SIGINT); time.sleep(0.1); print(r.reason)\n"
        "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == -signal.SIGTERM
    assert ended.stderr == ""


def test_a_signal_at_the_start_waits_and_is_not_for_compilers() -> None:
    program = (
        "import os, signal, subprocess; from apollo_ds.stopping import StopRequest; r = StopRequest(); r.hold()\n"
        "print(subprocess.check_output('kill -USR1 $$; echo built', shell=True, text=True).strip())\n"
        "os.kill(os.getpid(), signal.SIGUSR1); print(r.reason); r.listen(); print(r.reason)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    compiler, before, after = ended.stdout.splitlines()
    assert (compiler, before) == ("built", "None")
    assert after.startswith("SIGUSR1")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """Far more steps than the tests wait for."""
    return tiny("gpt2", tmp_path_factory.mktemp("stop") / "run", steps=100_000, save_every=50_000, log_every=1)


def wait_for_step(out: Path, process: "subprocess.Popen[str]") -> None:
    give_up = time.monotonic() + TIMEOUT_SECONDS
    while not ((out / "metrics.jsonl").is_file() and '"event": "step"' in (out / "metrics.jsonl").read_text()):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < give_up
        time.sleep(0.05)


def ranks_of(out: Path) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if f"out={out}" in words and any(word.startswith("--local_rank=") for word in words):
            found.append(process)
    return found


@pytest.mark.slow
def test_a_signal_to_the_launch_script_saves_and_ends_with_its_code(recipe: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start("bash", SCRIPT, write(recipe, tmp_path / "recipe.yaml"), f"out={out}")
    wait_for_step(out, process)
    process.send_signal(signal.SIGTERM)
    code, output = finish(process)
    assert code == EXIT_CODE, output
    assert output.count("the same command goes on from there") == 1
    assert "(2 of 2 ranks): stopped after step" in " ".join(output.split())
    assert "Traceback" not in output
    saved = (out / "checkpoints" / "latest").read_text()
    assert read_metrics(out / "metrics.jsonl")[-1] == {"event": "checkpoint", "step": int(saved.removeprefix("step-"))}
    assert not ranks_of(out)


@pytest.mark.slow
def test_ranks_whose_launcher_was_killed_save_and_end(recipe: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "run"
    process = start("bash", SCRIPT, write(recipe, tmp_path / "recipe.yaml"), f"out={out}")
    wait_for_step(out, process)
    process.kill()
    ranks = ranks_of(out)
    assert len(ranks) == 2
    _, alive = psutil.wait_procs(ranks, timeout=60)
    assert not alive
    process.communicate()
    assert (out / "checkpoints" / "latest").is_file()
