"""An empty environment of each Python, `pip install` of a wheel, then the default recipe in an empty folder."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
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
_UNIT_TESTS = [f"tests/unit/{name}" for name in ("test_extras.py", "methods", "growth", "config", "data_prep")]
_GIBIBYTES = 8
"""Free space that an environment may need: where pip finds no CPU build of torch, it takes CUDA's libraries too."""
Run = Callable[..., str]


def interpreter(version: str) -> str | None:
    """An interpreter of this version: this one, one on the path, or one of pyenv's that works."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = [shutil.which(f"python{version}"), *map(str, pyenv.glob(f"versions/{version}.*/bin/python"))]
    return next((path for path in found if path and _says(path) == version), None)


def _says(python: str) -> str:
    program = "import ensurepip, sys; print('%d.%d' % sys.version_info[:2])"
    return subprocess.run([python, "-c", program], capture_output=True, text=True, check=False).stdout.strip()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the committed files, in a copy in which nothing was built before."""
    copy, built = tmp_path_factory.mktemp("project") / "apollo_ds", tmp_path_factory.mktemp("wheel")
    subprocess.run(["git", "clone", "--quiet", PROJECT, copy], check=True)
    subprocess.run([sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", built, copy], check=True)
    return next(built.iterdir())


@pytest.fixture(params=["3.11", "3.12", "3.13"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    """Runs a program of a new environment of this Python, in a shell that does not know the checkout."""
    python = interpreter(request.param)
    if python is None:
        pytest.skip(f"there is no Python {request.param} on this machine")
    if shutil.disk_usage(tmp_path).free < _GIBIBYTES * 2**30:
        pytest.skip(f"an environment may need {_GIBIBYTES} GiB of free space")
    subprocess.run([python, "-m", "venv", tmp_path / "venv"], check=True)
    shell = {key: value for key, value in environment().items() if key not in ("PYTHONPATH", "MASTER_PORT")}
    shell["PATH"] = os.defpath

    def run(program: str, *words: str, cwd: Path, **variables: str) -> str:
        command = [str(tmp_path / "venv" / "bin" / program), *words]
        done = subprocess.run(command, cwd=cwd, env={**shell, **variables}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.mark.timeout(3000)
def test_an_installed_wheel_trains_its_default_recipe_in_an_empty_folder(run: Run, wheel: Path, tmp_path: Path) -> None:
    pins = ("pip", "install", "--quiet", "--no-compile", "--constraint", str(PROJECT / "constraints.txt"))
    run(*pins, str(wheel), cwd=tmp_path)
    folder = tmp_path / "empty"
    folder.mkdir()
    assert "finished" in run("apollo-ds", "train", "steps=40", "eval_every=20", cwd=folder)
    assert read_metrics(folder / "runs" / "demo" / "metrics.jsonl")[-1]["event"] == "end"
    assert (folder / "runs" / "demo" / "export" / "config.json").is_file()
    *_, said = run("python", "-c", _CALL, cwd=folder).splitlines()
    recorded = read_metrics(folder / "runs" / "called" / "metrics.jsonl")
    assert said == f"40 {recorded[-1]['loss']}"
    assert recorded[0]["ranks"] == 1
    run(*pins, f"{wheel}[test]", cwd=tmp_path)
    run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", *_UNIT_TESTS, cwd=PROJECT, PYTHONPATH=str(PROJECT))
