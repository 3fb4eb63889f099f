"""Trackers that cannot be used here are refused before a run starts, by `plan` too."""

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
from recipes import tiny

from apollo_ds import extras
from apollo_ds.config import trackers
from apollo_ds.config.ready import check_ready
from apollo_ds.errors import UserError


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """What is installed, as far as the check can see."""
    names = {"tensorboard"}
    monkeypatch.setattr(
        extras, "find_spec", lambda name: ModuleSpec(name, None, origin="there") if name in names else None
    )
    return names


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_one_that_is_not_installed_is_refused_with_the_command_that_installs_it(
    name: str, installed: set[str], tmp_path: Path
) -> None:
    recipe = tiny("gpt2", tmp_path / "run", trackers=["tensorboard", name])
    with pytest.raises(
        UserError, match=rf"^trackers: {name} is not installed; run `pip install 'apollo_ds\[{name}\]'`, or"
    ):
        check_ready(recipe, 2)


def test_a_folder_of_its_name_in_the_working_directory_is_not_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with pytest.raises(UserError, match=r"^trackers: wandb is not installed"):
        trackers.check_trackers(["wandb"])


def test_mlflow_has_to_know_where_it_records(
    installed: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed |= {"mlflow", "wandb"}
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    recipe = tiny("gpt2", tmp_path / "run", trackers=["mlflow", "wandb"])
    with pytest.raises(UserError, match=r"^trackers: mlflow needs MLFLOW_TRACKING_URI in the environment, which "):
        check_ready(recipe, 2)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:mlruns")
    check_ready(recipe, 2)


def test_another_name_is_refused_with_those_that_are_known(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"trackers\[0\]: choose one of tensorboard, wandb, mlflow, not 'aim'"):
        tiny("gpt2", tmp_path / "run", trackers=["aim"])


def test_a_run_may_have_none(tmp_path: Path) -> None:
    recipe = tiny("gpt2", tmp_path / "run", trackers=[])
    check_ready(recipe, 2)
    assert recipe.trackers == ()
