"""`apollo-ds init`, `plan --measure` and `train`, one after the other, as a user with a text of their own does."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from corpora import corpus
from launching import environment
from project import PROJECT

from apollo_ds.experiments.events import read_metrics


def ran(folder: Path, *words: str) -> str:
    """What a command prints that succeeds."""
    finished = subprocess.run(
        [sys.executable, "-m", "apollo_ds", *words],
        check=False,
        cwd=folder,
        env={**environment(), "PYTHONPATH": str(PROJECT), "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def test_the_recipe_trains_as_it_was_foretold(tmp_path: Path) -> None:
    data = str(corpus("gpt2", real=True).folder)
    told = ran(tmp_path, "init", "--data", data, "--tokens", "100k", "--out", "my.yaml")
    assert told.endswith("my.yaml is written. Train it by: apollo-ds train my.yaml\n")
    assert [path.name for path in tmp_path.iterdir()] == ["my.yaml"]  # what was measured is gone
    planned = json.loads(ran(tmp_path, "plan", "my.yaml", "--measure", "--json"))
    ran(tmp_path, "train", "my.yaml")
    events = {event["event"]: event for event in read_metrics(tmp_path / "runs" / "my" / "metrics.jsonl")}
    assert events["end"]["tokens"] == planned["total"]["tokens"] == pytest.approx(100_000, rel=0.05)
    assert events["ranks"]["memory_bytes"] == pytest.approx(planned["time"]["memory_bytes"], rel=0.3)
    assert planned["time"]["start_seconds"] > 1
    assert planned["time"]["step_seconds"] > 0


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (signal.SIGINT, ["init", "--tokens", "100k", "--out", "my.yaml", "--data"]),
        (signal.SIGTERM, ["plan", "demo", "--measure"]),
    ],
)
def test_a_signal_ends_the_ranks_and_leaves_nothing(number: signal.Signals, words: list[str], tmp_path: Path) -> None:
    text = corpus("gpt2", real=True)
    of_plan = [f"data={text.folder}", f"model.vocab_size={text.vocab_size}"]
    process = subprocess.Popen(
        [sys.executable, "-m", "apollo_ds", *words, *([str(text.folder)] if words[0] == "init" else of_plan)],
        cwd=tmp_path,
        env={**environment(), "PYTHONPATH": str(PROJECT), "TMPDIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    give_up = time.monotonic() + 120
    while len(ranks := psutil.Process(process.pid).children()) < 2:
        assert process.poll() is None and time.monotonic() < give_up
        time.sleep(0.1)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert (process.returncode, said.splitlines()[-1]) == (130, "apollo-ds: stopped")
    assert said.count("\n") == 1 + (words[0] == "plan")  # which says there that it measures
    assert not any(rank.is_running() for rank in ranks)
    assert list(tmp_path.iterdir()) == []
