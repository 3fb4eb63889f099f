"""An empty environment, `pip install`, then the default recipe by command and by call, in an empty folder."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from launching import environment
from project import PROJECT

from apollo_ds.experiments.events import read_metrics

_CALL = """
import apollo_ds
outcome = apollo_ds.train("steps=40", "eval_every=20", "out=runs/called", ranks=1)
print(outcome.totals.step, outcome.loss)
"""


@pytest.mark.timeout(3000)
def test_an_installed_package_trains_its_default_recipe_in_an_empty_folder(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    programs = tmp_path / "venv" / "bin"
    shell = {key: value for key, value in environment().items() if key not in ("PYTHONPATH", "MASTER_PORT")}
    shell["PATH"] = os.defpath

    def run(*command: str, cwd: Path) -> str:
        words = [str(programs / command[0]), *command[1:]]
        done = subprocess.run(words, cwd=cwd, env=shell, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run("pip", "install", "--quiet", "--no-compile", "--constraint", "constraints.txt", ".", cwd=PROJECT)
    folder = tmp_path / "empty"
    folder.mkdir()
    assert "finished" in run("apollo-ds", "train", "steps=40", "eval_every=20", cwd=folder)
    assert read_metrics(folder / "runs" / "demo" / "metrics.jsonl")[-1]["event"] == "end"
    assert (folder / "runs" / "demo" / "export" / "config.json").is_file()
    *_, said = run("python", "-c", _CALL, cwd=folder).splitlines()
    recorded = read_metrics(folder / "runs" / "called" / "metrics.jsonl")
    assert said == f"40 {recorded[-1]['loss']}"
    assert recorded[0]["ranks"] == 1
