"""What config.yaml says of the code that a run was made with."""

import hashlib
import subprocess
from pathlib import Path

import pytest
import yaml
from recipes import tiny

from apollo_ds.config import run_folder
from apollo_ds.config.run_folder import RunFolder


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with one commit, in the place of this one."""
    folder = tmp_path / "repository" / "package"
    folder.mkdir(parents=True)
    monkeypatch.setattr(run_folder, "_PACKAGE", folder)
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "somebody")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "somebody@example.com")
    (folder / "__init__.py").touch()
    (folder / "code.py").write_text("a = 1\n")
    (folder.parent / ".gitignore").write_text("*.log\n")
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "first"]):
        subprocess.run(["git", *words], cwd=folder.parent, check=True)
    return folder


def recorded(folder: Path) -> tuple[str | None, str | None]:
    RunFolder(folder).create(tiny("gpt2", folder))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    return config["git_commit"], config["git_diff"]


def test_a_run_records_its_commit_and_how_its_code_differs_from_it(package: Path, tmp_path: Path) -> None:
    commit, diff = recorded(tmp_path / "clean")
    assert commit is not None and len(commit) == 40
    assert diff is None
    (package / "code.py").write_text("a = 2\n")
    shown = subprocess.run(["git", "diff", "HEAD"], cwd=package, capture_output=True, check=True).stdout
    by_hand = hashlib.sha256(shown).hexdigest()[:16]
    assert recorded(tmp_path / "changed") == (f"{commit}-dirty", by_hand)
    subprocess.run(["git", "add", "."], cwd=package, check=True)
    assert recorded(tmp_path / "staged") == (f"{commit}-dirty", by_hand)


def test_a_new_file_of_the_package_is_a_difference(package: Path, tmp_path: Path) -> None:
    (package / "a.log").write_text("ignored")
    (package.parent / "notes.txt").write_text("not of the package")
    commit, diff = recorded(tmp_path / "clean")
    assert diff is None
    (package / "method.py").write_text("b = 1\n")
    assert recorded(tmp_path / "first")[0] == commit
    first = run_folder.git_diff()
    (package / "method.py").write_text("b = 2\n")
    assert None not in {first, run_folder.git_diff()}
    assert first != run_folder.git_diff()


def test_without_git_nothing_is_recorded(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert recorded(tmp_path / "run") == (None, None)


def test_the_repository_around_an_installed_package_is_not_its_own(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = package / "venv" / "apollo_ds"
    installed.mkdir(parents=True)
    (installed / "__init__.py").touch()
    monkeypatch.setattr(run_folder, "_PACKAGE", installed)
    assert recorded(tmp_path / "run") == (None, None)
