"""Which processes of DeepSpeed's launcher leave the ranks to ours, and what they pass on of what the user asked for."""

import os
import sys
from typing import Any

import psutil
import pytest

from apollo_ds.training import handover
from apollo_ds.training.faults.stop_signal import STARTED_BY, _launchers
from apollo_ds.training.launch import HANDED_OVER_BY, Ranks

SCRIPT = "launch/pretrain.sh"
WORDS = ["recipe.yaml", "steps=3"]
OF_DEEPSPEED = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "4", "LOCAL_SIZE": "4", "CROSS_RANK": "0"} | {
    "CROSS_SIZE": "1",
    "MASTER_ADDR": "127.0.0.1",
    "MASTER_PORT": "29500",
    "CUDA_VISIBLE_DEVICES": "0,1,2,3",
}
LAUNCHER = ["python", "-u", "-m", "deepspeed.launcher.launch", "--master_addr=127.0.0.1", SCRIPT, *WORDS]


class _Process:
    """One above this one."""

    def __init__(self, pid: int, cmdline: list[str], parent: "_Process | None", environ: dict[str, str]) -> None:
        self.pid = pid
        self.cmdline, self.environ, self.parent = (lambda: cmdline), (lambda: environ), (lambda: parent)


class _Replaced(Exception):
    """This process would be another program now."""


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Has `deepspeed OPTIONS launch/pretrain.sh WORDS` start a process; what that becomes, or None if it stays."""

    def start(*options: str, launcher: list[str] = LAUNCHER, local_rank: str = "0", **shell: str) -> Any:
        runner = _Process(
            7, ["python", "/bin/deepspeed", *options, SCRIPT, *WORDS], None, {"HOME": "/home/me", **shell}
        )
        this = _Process(9, [], _Process(8, launcher, runner, {}), {})
        monkeypatch.setattr(psutil, "Process", lambda: this)
        monkeypatch.setattr(sys, "argv", [SCRIPT, f"--local_rank={local_rank}", *WORDS])
        for name, value in {**OF_DEEPSPEED, "LOCAL_RANK": local_rank}.items():
            monkeypatch.setenv(name, value)
        try:
            handover.hand_over()
        except _Replaced as new:
            return new.args
        return None

    def execve(program: str, command: list[str], environment: dict[str, str]) -> None:
        raise _Replaced(command[2:], environment)

    monkeypatch.setattr(os, "execve", execve)
    return start


def test_without_a_count_it_is_the_user_s_command(started: Any) -> None:
    shell = {"RANK": "5", "MASTER_PORT": "4000", "CUDA_VISIBLE_DEVICES": "2"}
    command, environment = started("-q", "--log_level", "error", **shell)
    assert command == [SCRIPT, *WORDS]
    left = {"HOME": "/home/me", "MASTER_PORT": "4000", "CUDA_VISIBLE_DEVICES": "2"}
    assert environment == {**left, HANDED_OVER_BY: "8 7"}


@pytest.mark.parametrize(
    "options",
    [["--num_gpus", "4"], ["--num_accelerators=4"], ["-i", "localhost:0,1,2,3"], ["--exclude", "localhost:4"], []],
    ids=str,
)
def test_a_count_of_the_user_s_is_kept(options: list[str], started: Any) -> None:
    shell = {} if options else {"LOCAL_SIZE": "4"}
    command, environment = started(*options, "--master_port", "4001", **shell)
    assert command == [SCRIPT, "--ranks", "4", *WORDS]
    assert (environment["MASTER_PORT"], environment["CUDA_VISIBLE_DEVICES"]) == ("4001", "0,1,2,3")


def test_all_but_the_first_process_end_at_once(started: Any) -> None:
    with pytest.raises(SystemExit) as ended:
        started(local_rank="1")
    assert not ended.value.code


@pytest.mark.parametrize(
    "options",
    [
        ["--hostfile", "hostfile"],
        ["--bind_cores_to_rank"],
        ["--enable_each_rank_log", "logs", "--num_gpus", "2"],
        ["--no_ssh", "--node_rank=0"],
        ["--save_pid"],
    ],
    ids=str,
)
def test_with_any_other_option_they_stay_deepspeed_s_ranks(options: list[str], started: Any) -> None:
    assert started(*options) is None


def test_other_parents_are_left_alone(started: Any) -> None:
    assert started(launcher=["bash"]) is None
    assert started(launcher=[word.replace("127.0.0.1", "10.0.0.1") for word in LAUNCHER]) is None


def test_ranks_watch_deepspeed_s_launchers_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(HANDED_OVER_BY, "8 7")
    shell = Ranks(1, on_gpus=False).environments()[0]
    assert HANDED_OVER_BY not in shell
    monkeypatch.setenv(STARTED_BY, shell[STARTED_BY])
    assert _launchers() == [os.getpid(), 8, 7]


@pytest.mark.parametrize(
    ("script", "command", "is_launcher"),
    [
        (SCRIPT, ["python", "torchrun", SCRIPT, "demo"], True),
        ("/site/apollo_ds/__main__.py", ["python", "torchrun", "-m", "apollo_ds", "train"], True),
        ("/site/apollo_ds/__main__.py", ["bash", "-c", "cd apollo_ds; make"], False),
    ],
)
def test_ranks_watch_those_that_were_given_their_script_or_module(
    script: str, command: list[str], is_launcher: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Rank:
        def parents(self) -> list[_Process]:
            return [_Process(7, command, None, {})]

    monkeypatch.setattr(psutil, "Process", Rank)
    monkeypatch.setattr(sys, "argv", [script])
    monkeypatch.delenv(STARTED_BY, raising=False)
    assert _launchers() == [7] * is_launcher
