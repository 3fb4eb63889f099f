"""Ranks that share a machine's cores compute with one thread each, whoever has started them."""

import os
from pathlib import Path

import pytest
from recipes import tiny, write

from apollo_ds.engine.processes import Processes
from apollo_ds.training.faults.stop_signal import STARTED_BY
from apollo_ds.training.faults.watchdog import Watchdog
from apollo_ds.training.run import run

_NAMES = ("OMP_NUM_THREADS", "GOMP_SPINCOUNT")


class _Joined(Exception):
    """The rank has got so far."""


@pytest.mark.parametrize(
    ("launcher", "chosen", "expected"),
    [
        ({"LOCAL_SIZE": "2"}, {}, ("1", "0")),
        ({"LOCAL_WORLD_SIZE": "2"}, {"OMP_NUM_THREADS": "4"}, ("4", "0")),
        ({"LOCAL_SIZE": "1"}, {}, (None, None)),
        ({}, {}, (None, None)),
    ],
    ids=str,
)
def test_a_rank_that_another_launcher_has_started(
    launcher: dict[str, str],
    chosen: dict[str, str],
    expected: tuple[str | None, str | None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def join(*_: object) -> None:
        raise _Joined

    monkeypatch.setattr(Processes, "join", join)
    monkeypatch.setattr(Watchdog, "start", lambda _: None)
    monkeypatch.setattr("apollo_ds.training.run.StopRequest.hold", lambda _: None)
    for name in (*_NAMES, "LOCAL_SIZE", "LOCAL_WORLD_SIZE", STARTED_BY):
        monkeypatch.setenv(name, "")  # put back after the test, whatever it sets
        monkeypatch.delenv(name)
    place = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_PORT": "9"}
    for name, value in {**place, **launcher, **chosen}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(_Joined):
        run(Path(write(tiny("gpt2", tmp_path / "run"), tmp_path / "recipe.yaml")), [])
    assert tuple(os.environ.get(name) for name in _NAMES) == expected
