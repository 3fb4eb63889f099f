"""How a process that cannot go on ends: what it says, on which rank, and its exit code."""

from pathlib import Path
from typing import NoReturn

import pytest
import torch
import torch.distributed as dist

from apollo_ds.errors import EXIT_LOST_RANK, EXIT_OWN_FAULT, EXIT_USER_ERROR, UserError
from apollo_ds.training.console import RunConsole
from apollo_ds.training.faults import last_words, one_voice
from apollo_ds.training.faults.crash import leave_at_once

_GLOO = "[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:55017."
_NCCL = (
    "NCCL error in: ../torch/csrc/distributed/c10d/NCCLUtils.cpp:77, invalid usage, NCCL version 2.27.3\n"
    "ncclInvalidUsage: This usually reflects invalid usage of NCCL library.\nLast error:\n"
    "Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 100000"
)


def leaves(code: int) -> NoReturn:
    raise SystemExit(code)


def would_wait(*_: object) -> NoReturn:
    raise AssertionError("waits for the other ranks")


@pytest.fixture
def rank_1(monkeypatch: pytest.MonkeyPatch) -> dist.Store:
    """This process as a rank that has joined another; returns what they count by."""
    for name, value in {"RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    store = dist.HashStore()
    monkeypatch.setattr(one_voice, "_common_store", lambda: store)
    monkeypatch.setattr(last_words, "_SECONDS_FOR_THE_CAUSE", 0.0)
    return store


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UserError("the disk is full"), EXIT_USER_ERROR, "apollo-ds: the disk is full"),
        (FileNotFoundError(2, "No such file", "text.bin"), EXIT_USER_ERROR, "apollo-ds: text.bin: "),
        (torch.OutOfMemoryError("CUDA out of memory."), EXIT_USER_ERROR, "apollo-ds: the memory is used up: lower"),
        (dist.DistBackendError(_NCCL), EXIT_USER_ERROR, "apollo-ds: LOCAL_RANK: two ranks have the same GPU; let"),
        (RuntimeError(_GLOO), EXIT_LOST_RANK, "apollo-ds: another rank has ended"),
        (dist.DistNetworkError("Broken pipe"), EXIT_LOST_RANK, "apollo-ds: another rank has ended"),
        (ZeroDivisionError("by zero"), EXIT_OWN_FAULT, "apollo-ds: this is a bug in apollo-ds (ZeroDivision"),
    ],
)
def test_a_failed_rank_says_one_line_if_none_has_and_does_not_wait(
    error: Exception,
    code: int,
    said: str,
    rank_1: dist.Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    console = RunConsole(shown=False)
    monkeypatch.setattr("os._exit", leaves)
    monkeypatch.setattr(dist, "destroy_process_group", would_wait)
    for lines in (1, 0):  # the second time, the store has that it was told
        with pytest.raises(SystemExit) as left:
            leave_at_once(error, console, tmp_path)
        assert left.value.code == code
        printed = capsys.readouterr().err.splitlines()
        assert len(printed) == lines
        assert all(line.startswith(said) for line in printed)
    logs = [path.read_text() for path in tmp_path.iterdir()]
    assert ["ZeroDivisionError: by zero" in log for log in logs] == [True] * (code == EXIT_OWN_FAULT)


def test_a_lost_rank_is_left_to_a_launcher_of_ours(
    rank_1: dist.Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(last_words.STARTED_BY, "1")
    assert last_words.say_last_words(RuntimeError(_GLOO), has_joined=True) == EXIT_LOST_RANK
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("rank", "said"), [("0", "apollo-ds: no such file\n"), ("1", "")])
def test_where_the_first_rank_has_not_come_up_only_it_tells(
    rank: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"RANK": rank, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(one_voice, "_SECONDS_TO_COME_UP", 0.1)
    monkeypatch.setattr(one_voice, "_SECONDS_TO_BE_ASKED", 0.1)
    assert last_words.say_last_words(UserError("no such file")) == EXIT_USER_ERROR
    assert capsys.readouterr().err == said


def test_a_rank_that_fails_early_tells_once_the_first_is_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    environment = {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store.port)}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for _ in range(2):
        assert last_words.say_last_words(UserError("only here")) == EXIT_USER_ERROR
    assert capsys.readouterr().err == "apollo-ds: only here\n"
