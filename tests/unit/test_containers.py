"""The two container files hold the same, and take from the checkout what an installation needs."""

import re
import subprocess

from project import PROJECT

_DOCKER = (PROJECT / "containers" / "Dockerfile").read_text()
_APPTAINER = (PROJECT / "containers" / "apollo_ds.def").read_text()
_IGNORED = (PROJECT / ".dockerignore").read_text().splitlines()
_TAKEN = {line[1:] for line in _IGNORED if line.startswith("!")}


def section(name: str) -> str:
    """A part of the Apptainer definition."""
    found = re.search(rf"^%{name}\n(.*?)(?=^%|\Z)", _APPTAINER, re.MULTILINE | re.DOTALL)
    assert found is not None
    return found[1]


def test_both_begin_with_the_same_pinned_image() -> None:
    (docker,) = re.findall(r"^ARG BASE=(\S+:\S+)$", _DOCKER, re.MULTILINE)
    assert re.findall(r"^From: (\S+)$", _APPTAINER, re.MULTILINE) == [docker]


def test_both_install_the_same_packages() -> None:
    for command in (r"apt-get install .*", r"\S+/pip install .*\]'"):
        (docker,), (apptainer,) = (re.findall(command, text) for text in (_DOCKER, section("post")))
        assert docker.rstrip(" \\") == apptainer


def test_both_take_the_same_files_and_these_exist() -> None:
    copied = dict(line.split() for line in section("files").splitlines() if line.strip())
    assert set(copied) == _TAKEN
    assert all(target == f"/source/{name}" for name, target in copied.items())
    assert all((PROJECT / name).exists() for name in _TAKEN)


def test_what_they_take_builds_the_package() -> None:
    wanted = set(re.findall(r"[\w.]+", (PROJECT / "MANIFEST.in").read_text().splitlines()[0])) - {"include"}
    assert wanted | {"setup.py", "pyproject.toml", "README.md", "apollo_ds", "data_prep", "ds_configs"} <= _TAKEN


def test_the_image_does_not_run_as_root() -> None:
    assert re.findall(r"^USER (\d+)$", _DOCKER, re.MULTILINE) == ["10001"]


def test_apptainer_s_commands_are_shell() -> None:
    for name in ("post", "environment", "runscript", "test"):
        subprocess.run(["bash", "-n"], input=section(name), text=True, check=True)
