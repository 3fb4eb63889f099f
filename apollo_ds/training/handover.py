"""Let this project's own launcher start the ranks if the script was started by DeepSpeed's launcher.

DeepSpeed's launcher starts one process for each GPU, or a single one on CPUs. It lets all runs meet at port 29500, and
does not pass signals on. So the first of its processes on the machine becomes `training/launch.py`, and the others exit
at once. If DeepSpeed's command line has options that our launcher lacks, all processes stay DeepSpeed's ranks.
"""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

import psutil

from apollo_ds.training.launch import HANDED_OVER_BY

_RUNNERS = ("deepspeed", "deepspeed.pt", "ds", "deepspeed.launcher.runner")
_LAUNCHER = ["-u", "-m", "deepspeed.launcher.launch"]
_SET_BY_LAUNCHERS = (
    *("RANK", "LOCAL_RANK", "CROSS_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "LOCAL_SIZE", "CROSS_SIZE"),
    "MASTER_ADDR",
)
_GPUS = "CUDA_VISIBLE_DEVICES"


def hand_over() -> None:
    """If DeepSpeed's launcher started this process, become the launcher of the ranks (first process), or exit (others).

    In any other process, return and do nothing.
    """
    try:
        launcher = psutil.Process().parent()
        runner = launcher.parent() if launcher else None
        if launcher is None or runner is None or not _is_of_one_machine(launcher.cmdline()):
            return
        options = _options(runner.cmdline(), sys.argv[0])
        theirs = runner.environ()
    except psutil.Error:
        return  # a launcher has ended; this process stays a rank, and will notice
    if options is None:
        return
    if os.environ["LOCAL_RANK"] != "0":
        sys.exit(0)
    ranks, environment = _as_the_user_asked(options, theirs)
    environment[HANDED_OVER_BY] = f"{launcher.pid} {runner.pid}"
    script, _local_rank, *words = sys.argv
    os.execve(sys.executable, [sys.executable, "-u", script, *ranks, *words], environment)


def _is_of_one_machine(launcher: Sequence[str]) -> bool:
    return launcher[1:4] == _LAUNCHER and "--master_addr=127.0.0.1" in launcher and os.environ.get("CROSS_SIZE") == "1"


def _options(runner: Sequence[str], script: str) -> Namespace | None:
    """Parse the options of a `deepspeed` command line; None if our launcher does not support one of them."""
    program = next((place for place, word in enumerate(runner) if Path(word).name in _RUNNERS), None)
    if program is None or script not in runner[program + 1 :]:
        return None
    parser = ArgumentParser(add_help=False)
    parser.add_argument("--num_gpus", "--num_accelerators", type=int, default=-1)
    parser.add_argument("-i", "--include")
    parser.add_argument("-e", "--exclude")
    parser.add_argument("--master_port")
    parser.add_argument("-q", "--quiet", action="store_true")  # affects DeepSpeed's own output, as does --log_level
    parser.add_argument("--log_level")
    options, others = parser.parse_known_args(runner[program + 1 : runner.index(script, program + 1)])
    return None if others else options


def _as_the_user_asked(options: Namespace, theirs: dict[str, str]) -> tuple[list[str], dict[str, str]]:
    """The arguments that set the number of ranks, and the environment of the `deepspeed` command."""
    environment = {name: value for name, value in theirs.items() if name not in _SET_BY_LAUNCHERS}
    if options.master_port:
        environment["MASTER_PORT"] = options.master_port
    has_count = options.num_gpus > 0 or options.include or options.exclude or theirs.get("LOCAL_SIZE", "0") != "0"
    if not has_count:
        return [], environment
    environment[_GPUS] = os.environ[_GPUS]  # the GPUs that DeepSpeed has chosen
    return ["--ranks", os.environ["WORLD_SIZE"]], environment
