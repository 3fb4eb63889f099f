"""Runs of the evidence, each in a process of its own: one that fails is told of, and none outlives a signal."""

import os
import sys
import time
from pathlib import Path

import evidence
import psutil
import pytest
from project import PROJECT

from apollo_ds.experiments.sweep.grid import Cell

EVIDENCE = PROJECT / "benchmarks" / "evidence"


def fails(job: tuple[Path, tuple[str, ...], Path]) -> str:
    if "b" in job[2].name:
        raise ValueError("as it happens")
    return f"{job[2].name}: done"


def test_a_run_that_fails_is_told_of_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(evidence, "HERE", tmp_path)
    monkeypatch.setattr(evidence, "train", fails)
    monkeypatch.setattr(evidence, "_open_text", lambda recipe: None)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    cells = [Cell(name, tmp_path / name, ()) for name in ("run_a", "run_b", "run_c")]
    evidence.train_all("question/tiny", PROJECT / "launch" / "recipes" / "demo.yaml", cells)
    assert sorted(line.split(": ", 1)[1] for line in capsys.readouterr().out.splitlines()) == [
        "run_a: done",
        "run_b: failed: ValueError('as it happens')",
        "run_c: done",
    ]
    assert os.environ["OMP_NUM_THREADS"] == "7"


def sleeps(job: tuple[Path, tuple[str, ...], Path]) -> str:
    job[2].touch()
    time.sleep(300)
    return ""


_TRAINS = """
import signal, sys
from pathlib import Path
import evidence, test_evidence
from apollo_ds.experiments.sweep.grid import Cell
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
evidence.HERE = Path(sys.argv[1])
evidence.train = test_evidence.sleeps
evidence._open_text = lambda recipe: None
recipe = test_evidence.PROJECT / "launch" / "recipes" / "demo.yaml"
evidence.train_all("", recipe, [Cell(name, Path(name), ()) for name in ("a", "b", "c")])
"""


def test_nothing_trains_on_after_a_signal(tmp_path: Path) -> None:
    places = os.pathsep.join(
        map(str, (EVIDENCE, EVIDENCE.parent, PROJECT / "tests" / "support", Path(__file__).parent))
    )
    started = psutil.Popen([sys.executable, "-c", _TRAINS, tmp_path], env={**os.environ, "PYTHONPATH": places})
    give_up = time.monotonic() + 60
    while len(list(tmp_path.iterdir())) < 2:
        assert time.monotonic() < give_up
        time.sleep(0.05)
    workers = started.children(recursive=True)
    started.terminate()
    assert started.wait(30) == 143
    assert not psutil.wait_procs(workers, timeout=10)[1]
