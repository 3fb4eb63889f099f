"""Engines that are taken down and built again leave nothing behind."""

import threading
import weakref

import pytest
import torch
from engines import train_steps
from ranks import pool
from rebuilding import engine_for
from recipes import tiny, zero

from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.processes import Processes


def left_over(processes: Processes, recipe: Recipe) -> tuple[list[int], list[int], list[bool]]:
    """Process groups and threads after each of three rebuilds, and whether each old engine is gone."""
    groups, threads, gone = [], [], []
    for step in range(3):
        engine = engine_for(recipe, 0, processes)
        train_steps(processes, engine, recipe, range(step, step + 1))
        reference = weakref.ref(engine.deepspeed)
        engine.close()
        gone.append(reference() is None)
        groups.append(len(torch.distributed.distributed_c10d._world.pg_map))
        threads.append(threading.active_count())
    return groups, threads, gone


@pytest.mark.parametrize(
    ("stage", "optimizer"), [(0, "adamw"), (1, "adamw"), (2, "adamw"), (3, "adamw"), (1, "muon"), (3, "muon")]
)
def test_an_engine_taken_down_leaves_nothing(stage: int, optimizer: str) -> None:
    recipe = tiny("bert", "unused", method="scratch", optimizer=optimizer, deepspeed=zero(stage, "bf16"))
    for groups, threads, gone in pool(2).run(left_over, recipe):
        assert groups[-1] == groups[0]
        assert threads[-1] == threads[0]
        assert all(gone)
