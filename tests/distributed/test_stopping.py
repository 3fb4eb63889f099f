"""Stopping: a signal on one rank stops all of them after a step, saved; the same command then goes on."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from ranks import pool
from recipes import tiny
from runs import events, train, trained

from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.processes import Processes
from apollo_ds.errors import Stopped
from apollo_ds.training.faults.stop_signal import StopRequest
from apollo_ds.training.run import make_trainer


def train_until_signalled(processes: Processes, recipe: Recipe, signalled_at: int, number: signal.Signals) -> str:
    """The second rank gets a signal in the middle of a step; returns what the run says when it stops."""
    request = StopRequest()
    before = {kind: signal.getsignal(kind) for kind in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)}
    run = make_trainer(recipe, processes, stop=request)
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
        "import os, signal, time; from apollo_ds.training.faults.stop_signal import StopRequest\n"
        "r = StopRequest(); r.listen()\n"
        "os.kill(os.getpid(), signal.SIGTERM); os.kill(os.getpid(), signal.SIGINT); time.sleep(0.1); print(r.reason)\n"
        "os.kill(os.getpid(), signal.SIGTERM); time.sleep(60)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == -signal.SIGTERM
    assert ended.stderr == ""


def test_a_signal_at_the_start_waits_and_is_not_for_compilers() -> None:
    program = (
        "import os, signal, subprocess; from apollo_ds.training.faults.stop_signal import StopRequest\n"
        "r = StopRequest(); r.hold()\n"
        "print(subprocess.check_output('kill -USR1 $$; echo built', shell=True, text=True).strip())\n"
        "os.kill(os.getpid(), signal.SIGUSR1); print(r.reason); r.listen(); print(r.reason)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    compiler, before, after = ended.stdout.splitlines()
    assert (compiler, before) == ("built", "None")
    assert after.startswith("SIGUSR1")


def test_a_signal_that_came_before_the_start_is_not_forgotten() -> None:
    program = (
        "import os, signal; from apollo_ds.training.faults.stop_signal import StopRequest\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1]); os.kill(os.getpid(), signal.SIGUSR1)\n"
        "r = StopRequest(); r.hold(); print(r.reason)"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout.startswith("SIGUSR1 on ")
