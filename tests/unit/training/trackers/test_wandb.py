"""W&B has each step, in one run however often it was cut short. A stand-in shows it, and W&B if it is installed."""

import logging
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from tracked import cut_after_six_and_resumed_from_three, record, start

_STEPS = list(range(1, 9))


class Service:
    """A stand-in of W&B: what its server has of each run, by ids."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[int, dict[str, Any]]] = {}
        self.refused: list[int] = []
        self.starts: list[dict[str, Any]] = []
        self.ends: list[int] = []
        self.offline = False

    def init(self, **how: Any) -> "Service":
        self.starts.append(how)
        if self.offline:
            self.rows.pop(how["id"], None)
        self.of_run = self.rows.setdefault(how["id"], {})
        self.starting_step = max(self.of_run, default=-1) + 1
        self.url, self.dir = "http://server/run", "demo/wandb/offline-run-1/files"
        return self

    def log(self, values: dict[str, Any], step: int) -> None:
        if step < self.starting_step:
            self.refused.append(step)
        self.of_run.setdefault(step, {}).update(values)

    def finish(self, exit_code: int) -> None:
        self.ends.append(exit_code)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Service:
    for name in ("WANDB_PROJECT", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)
    made = Service()
    module = ModuleType("wandb")
    for name, value in {"init": made.init, "teardown": int, "Html": str, "Settings": SimpleNamespace}.items():
        setattr(module, name, value)
    monkeypatch.setitem(sys.modules, "wandb", module)
    return made


@pytest.mark.parametrize("offline", [False, True])
def test_each_step_is_there_in_one_run(
    offline: bool, service: Service, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    service.offline = offline
    with caplog.at_level(logging.INFO, "apollo_ds"):
        cut_after_six_and_resumed_from_three(tmp_path, "wandb")
    (rows,) = service.rows.values()
    for tag in ("loss/train", "loss/held_out", "progress/flops"):
        assert [step for step, row in rows.items() if tag in row] == _STEPS, tag
    assert not service.refused
    assert service.ends == [1, 0]
    first = service.starts[0]
    assert (first["name"], first["project"], first["dir"]) == (tmp_path.name, "apollo_ds", tmp_path)
    assert first["config"]["method.name"] == "apollo"
    where = "offline; `wandb sync demo/wandb/offline-run-1` sends it" if offline else "http://server/run"
    assert caplog.messages == [f"wandb: {where}"] * 2


def test_a_growth_after_the_last_step_of_the_start_before_is_there(service: Service, tmp_path: Path) -> None:
    metrics = start(tmp_path, "wandb")
    record(metrics, 1, 3)
    kept = metrics.bytes
    metrics.close()
    metrics = start(tmp_path, "wandb", keep_bytes=kept)
    metrics.write("growth", step=3, **{"from": 1, "to": 3}, loss_before=4.25, loss_after=4.5)
    record(metrics, 4, 4)
    metrics.close()
    (rows,) = service.rows.values()
    assert rows[4]["growth"] == "<pre>1 -&gt; 3 layers, held-out loss 4.2500 -&gt; 4.5000</pre>"
    assert not service.refused


def test_what_the_environment_says_of_its_project_holds(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "ours")
    monkeypatch.setenv("WANDB_DIR", "/somewhere")
    start(tmp_path, "wandb").close()
    assert [(how["project"], how["dir"]) for how in service.starts] == [("ours", "/somewhere")]


@pytest.mark.skipif(find_spec("wandb") is None, reason="W&B is not installed")
def test_offline_it_leaves_a_folder_for_each_start_with_the_whole_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    cut_after_six_and_resumed_from_three(tmp_path, "wandb")
    files = sorted(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))
    assert len({file.name for file in files}) == 1
    assert all(tag in files[-1].read_bytes() for tag in (b"loss/train", b"loss/held_out", b"progress/flops"))


@pytest.mark.skipif(find_spec("wandb") is None, reason="W&B is not installed")
def test_without_a_login_it_is_off_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    metrics = start(tmp_path, "wandb")
    record(metrics, 1, 2)
    metrics.close()
    (line,) = (message for message in caplog.messages if "goes on without it" in message)
    assert line.startswith("wandb failed: UsageError: No API key configured.")
    assert metrics.failure is None
