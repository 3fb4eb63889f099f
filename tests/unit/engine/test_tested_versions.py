"""A DeepSpeed that was not tested is named in one sentence."""

from importlib import metadata

import pytest
from packaging.requirements import Requirement
from packaging.version import Version
from project import PROJECT

from apollo_ds.engine.tested_versions import doubt_of_deepspeed


@pytest.mark.parametrize(
    ("installed", "is_tested"),
    [("0.19.8", True), ("0.19.9", True), ("0.19.8+cu130", True), ("0.19.7", False), ("0.20.0", False)],
)
def test_versions_outside_of_the_stated_range_are_doubted(
    installed: str, is_tested: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "requires", lambda _: ["torch", "deepspeed<0.20,>=0.19.8", "mypy; extra == 'test'"])
    monkeypatch.setattr(metadata, "version", lambda _: installed)
    doubt = doubt_of_deepspeed()
    assert (doubt is None) == is_tested
    if doubt:
        assert doubt.startswith(f"DeepSpeed {installed} was not tested")
        assert "pip install 'deepspeed<0.20,>=0.19.8'" in doubt


def test_nothing_is_doubted_where_the_package_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", fails)
    assert doubt_of_deepspeed() is None


def test_the_pinned_version_is_in_the_stated_range() -> None:
    (stated,) = [line.strip(' ",\n') for line in (PROJECT / "setup.py").open() if line.strip().startswith('"deepspeed')]
    pins = dict(line.split("==") for line in (PROJECT / "constraints.txt").read_text().split())
    assert Version(pins["deepspeed"]) in Requirement(stated).specifier
