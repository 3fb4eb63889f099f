"""Commands whose extra is not installed say so in one sentence, and the extras hold what the commands ask for."""

import runpy
from importlib.machinery import ModuleSpec
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import setuptools
from asking import Capture, refusal
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from project import PROJECT

from apollo_ds import extras
from apollo_ds.errors import UserError

THERE = ModuleSpec("there", None, origin="there")


@pytest.fixture
def declared(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What setup.py says."""
    said: dict[str, Any] = {}
    monkeypatch.chdir(PROJECT)
    monkeypatch.setattr(setuptools, "setup", said.update)
    runpy.run_path("setup.py")
    return said


def test_finetune_is_refused_before_it_looks_at_the_task(
    tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "scipy" else THERE)
    said = refusal(capsys, "finetune", str(tmp_path / "none"), "--task", "rte", "--data", str(tmp_path / "none"))
    assert said == "finetune: needs scipy, which is not installed; run `pip install 'apollo_ds[finetune]'`"


def test_several_missing_packages_are_named_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"^finetune: needs scikit-learn, scipy and torchmetrics, which are not"):
        extras.check_extra("finetune")


def test_each_extra_that_a_command_names_exists_and_the_core_has_none_of_it(declared: dict[str, Any]) -> None:
    core = {_name(requirement) for requirement in declared["install_requires"]}
    for name, packages in extras.EXTRAS.items():
        assert name in declared["extras_require"]
        assert not core & set(packages.values())
    assert {_name(each) for each in declared["extras_require"]["finetune"]} == set(extras.EXTRAS["finetune"].values())


def test_tests_have_what_finetune_needs(declared: dict[str, Any]) -> None:
    assert set(declared["extras_require"]["finetune"]) <= set(declared["extras_require"]["test"])


def test_every_dependency_is_pinned(declared: dict[str, Any]) -> None:
    pins = (PROJECT / "constraints.txt").read_text().splitlines()
    wanted = chain(declared["install_requires"], *declared["extras_require"].values())
    assert {_name(each) for each in wanted} <= {_name(each) for each in pins}


def _name(requirement: str) -> str:
    return canonicalize_name(Requirement(requirement).name)
