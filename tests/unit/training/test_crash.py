"""How a rank that fails leaves: what it says, its exit code, and that it does not wait for the others."""

from typing import NoReturn

import pytest
import torch
import torch.distributed as dist
from recipes import tiny

from apollo_ds.engine.processes import Processes
from apollo_ds.errors import EXIT_USER_ERROR, UserError
from apollo_ds.training.console import RunConsole
from apollo_ds.training.faults.crash import leave_at_once


def leaves(code: int) -> NoReturn:
    raise SystemExit(code)


def would_wait(*_: object) -> NoReturn:
    raise AssertionError("waits for the other ranks")


@pytest.mark.parametrize(
    ("error", "rank", "code", "told"),
    [
        (UserError("the disk is full"), 0, EXIT_USER_ERROR, ["apollo-ds: the disk is full"]),
        (UserError("the disk is full"), 1, EXIT_USER_ERROR, []),
        (RuntimeError("out of memory"), 1, 1, ["[rank 1] RuntimeError: out of memory"]),
    ],
)
def test_a_mistake_is_one_line_of_the_first_rank_and_the_rest_a_traceback(
    error: Exception,
    rank: int,
    code: int,
    told: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    console = RunConsole(tiny("gpt2", "unused").schedule(), shown=False)
    monkeypatch.setattr("os._exit", leaves)
    monkeypatch.setattr(dist, "destroy_process_group", would_wait)
    with pytest.raises(SystemExit) as left:
        try:
            raise error
        except Exception as caught:
            leave_at_once(caught, Processes(rank, 2, torch.device("cpu")), console)
    assert left.value.code == code
    assert capsys.readouterr().err.splitlines()[-1:] == told
