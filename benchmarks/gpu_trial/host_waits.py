"""Where a step makes the host wait for the GPU, as torch itself reports it."""

import warnings
from pathlib import Path

import torch
from speed.bare_steps import on_device
from speed.settings import Setting, recipe_of, source_of

from apollo_ds.engine.cohorts import CohortCorrection
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.layout import flat_tensors
from apollo_ds.engine.processes import Processes
from apollo_ds.models.pretraining import skeleton
from apollo_ds.planning.zero import under_zero

_WARM_UP = 3


def host_waits(setting: Setting, processes: Processes, zero: int, with_young: bool = False) -> list[str]:
    """The places in the code at which a step under a ZeRO stage waits; `with_young` half of the weights are younger."""
    recipe = under_zero(recipe_of(setting, processes), zero).settled(processes.computes_bf16, processes.world_size)
    plan = recipe.schedule().at(1)
    read = source_of(recipe).micro_batches(0, plan.seq_len, setting.samples, setting.samples, 0, 1)
    batches = on_device(read, processes)
    model = skeleton(recipe.model, recipe.model.num_layers)
    engine = Engine(model, recipe.engine_options(processes.world_size), processes, seed=1)
    if with_young:
        engine.births = (0, 1)
        engine.cohorts = CohortCorrection(engine.births, flat_tensors(engine.deepspeed))
        for mask in engine.cohorts.masks.values():
            mask[mask.numel() // 2 :] = 1
        engine.cohorts.index()
    for _ in range(_WARM_UP):
        engine.train_step(batches, [plan])
    torch.cuda.synchronize()
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            engine.train_step(batches, [plan])
        finally:
            torch.cuda.set_sync_debug_mode(0)
    engine.close()
    waits = [one for one in heard if "called a synchronizing" in str(one.message)]
    return [f"{Path(one.filename).name}:{one.lineno}" for one in waits]
