"""Torch lets ranks wait for each other for longer than the watchdog does, whatever group they wait in."""

from datetime import timedelta
from pathlib import Path

import torch
from ranks import pool
from recipes import tiny, zero
from torch.distributed import distributed_c10d

from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.processes import Processes
from apollo_ds.training.run import make_trainer

_LONGEST_LIMIT = timedelta(days=1)


def limits_of_all_groups(processes: Processes, recipe: Recipe) -> list[timedelta]:
    run = make_trainer(recipe, processes)
    groups = list(distributed_c10d._world.pg_map)
    limits = [group._get_backend(torch.device("cpu")).options._timeout for group in groups]
    run.close()
    return [*limits, distributed_c10d._get_default_timeout(distributed_c10d.Backend.NCCL)]


def test_no_group_of_a_run_gives_up_before_the_watchdog(tmp_path: Path) -> None:
    recipe = tiny("bert", tmp_path / "run", deepspeed=zero(2))
    for limits in pool(2).run(limits_of_all_groups, recipe):
        assert len(limits) >= 5  # torch's own, DeepSpeed's, two side channels, and what NCCL's would have
        assert min(limits) > _LONGEST_LIMIT
