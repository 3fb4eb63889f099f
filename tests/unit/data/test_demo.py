"""The default recipe's text."""

from pathlib import Path

import pytest

from apollo_ds.data import demo
from apollo_ds.errors import UserError
from apollo_ds.models.families import preset
from data_prep.errors import Busy, DataError


def test_a_run_waits_while_another_prepares_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def build(*_: object, **__: object) -> None:
        asked.append(True)
        raise Busy("another run works there")

    def other_run_ends(_: float) -> None:
        if len(asked) == 2:
            (tmp_path / "manifest.json").touch()

    monkeypatch.setattr(demo, "build", build)
    monkeypatch.setattr(demo.time, "sleep", other_run_ends)
    demo.prepare_default_text(tmp_path, preset("gpt2-base"))
    assert (tmp_path / "manifest.json").is_file()


def test_text_that_cannot_be_prepared_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*_: object, **__: object) -> None:
        raise DataError("the disk is full")

    monkeypatch.setattr(demo, "build", build)
    with pytest.raises(UserError, match=r"^data: the disk is full$"):
        demo.prepare_default_text(tmp_path, preset("gpt2-base"))
