"""What a wheel and a source distribution hold, and that the wheel works outside of the project, from any folder."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest
from project import PROJECT

_BUILD = "import sys; from setuptools import build_meta as build; getattr(build, f'build_{sys.argv[1]}')(sys.argv[2])"
_NEEDED = ["*.py", "*.md", "*.in", "*.toml", "*.txt", "LICENSE", "CITATION.cff"]
_FOLDERS = ["apollo_ds", "data_prep", "ds_configs", "launch"]


def build(kind: str, source: Path, folder: Path) -> Path:
    """A wheel or an sdist of a folder, made as pip makes it, with what is installed here."""
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", _BUILD, kind, str(folder)], cwd=source, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a copy of the project, in which nothing was built before."""
    copy = tmp_path_factory.mktemp("project")
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "--", *_NEEDED, *_FOLDERS], cwd=PROJECT, capture_output=True, text=True, check=True
    )
    for name in filter(None, tracked.stdout.split("\0")):
        if (PROJECT / name).is_file() and not name.startswith(("tests/", "benchmarks/", "docs/")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((PROJECT / name).read_bytes())
    return build("sdist", copy, tmp_path_factory.mktemp("built") / "sdist")


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the sdist, so that nothing may be missing there."""
    folder = tmp_path_factory.mktemp("unpacked")
    shutil.unpack_archive(sdist, folder)
    return build("wheel", next(folder.iterdir()), tmp_path_factory.mktemp("built") / "wheel")


def test_the_wheel_holds_the_code_and_the_files_that_it_names(wheel: Path) -> None:
    held = set(zipfile.ZipFile(wheel).namelist())
    rooms = ("apollo_ds", "data_prep")
    code = {str(path.relative_to(PROJECT)) for room in rooms for path in PROJECT.glob(f"{room}/**/*.py")}
    files = {f"apollo_ds/packaged/{path.relative_to(PROJECT)}" for path in (PROJECT / "ds_configs").glob("*.json")}
    files |= {f"apollo_ds/packaged/{path.relative_to(PROJECT)}" for path in (PROJECT / "launch").glob("recipes/*.yaml")}
    typed = {f"{room}/py.typed" for room in rooms}
    described = {name for name in held if ".dist-info/" in name}
    assert held - described == code | files | typed
    for needed in ("entry_points.txt", "LICENSE"):
        assert any(name.endswith(needed) for name in described)


def test_the_wheel_tells_an_index_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        told = message_from_bytes(archive.read(name))
    assert {"finetune", "eval", "wandb", "mlflow", "docs", "test"} <= set(told.get_all("Provides-Extra", []))
    assert told["Description-Content-Type"] == "text/markdown"
    assert told["License-Expression"] == "Apache-2.0" or told["License"] == "Apache-2.0"
    assert str(told.get_payload()).startswith("# apollo_ds")


def test_the_sdist_holds_what_a_reader_looks_for(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    told = {"README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff"}
    assert {*told, "setup.py", "pyproject.toml", "constraints.txt"} <= held
    assert not any(name.startswith(("tests/", "benchmarks/")) for name in held)


def test_the_wheel_works_from_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    target, empty = tmp_path / "site-packages", tmp_path / "empty"
    empty.mkdir()
    zipfile.ZipFile(wheel).extractall(target)
    shell = {**os.environ, "PYTHONPATH": str(target)}

    def says(*words: str) -> str:
        command = [sys.executable, "-P", *words]
        return subprocess.run(command, cwd=empty, env=shell, capture_output=True, text=True, check=False).stdout

    program = "import apollo_ds.config.packaged as p; print(p.DEFAULT_RECIPE)"
    assert says("-c", program).strip() == str(target / "apollo_ds" / "packaged" / "launch" / "recipes" / "demo.yaml")
    command = ("-m", "apollo_ds")
    assert says(*command, "--version") == f"apollo-ds {wheel.name.split('-')[1]}\n"
    assert says(*command, "plan").startswith("early_doubling  gpt2 12x128")
    assert "250,000 steps" in says(*command, "plan", "bert-base", "deepspeed=ds_configs/zero3.json")
