"""`apollo-ds init`, `plan --measure` and `train`, one after the other, as a user with a text of their own does."""

import json
import subprocess
import sys
from pathlib import Path

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
