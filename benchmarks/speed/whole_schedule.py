"""A whole schedule beside training from scratch, step for step: what it saves of the time, and of the operations."""

from typing import Any

from apollo_ds.engine.processes import Processes
from apollo_ds.planning.step_flops import step_flops
from speed.contestants import ours
from speed.pacing import Paced
from speed.settings import Setting, recipe_of

_WARM_UP = 3


def measure(setting: Setting, processes: Processes, steps: int, burst: int) -> dict[str, Any]:
    """Seconds of each stage of Apollo's own schedule, and of as many steps from scratch taken in turn with them.

    What comes once a stage, however many steps it has, is timed by itself: the growth out of it, the checkpoint before
    and the two evaluations around it.
    """
    grown = recipe_of(setting, processes, method="apollo", steps=steps).schedule()
    scratch = recipe_of(setting, processes, steps=steps).schedule()
    if any(first % burst for first in grown.first_steps):
        raise ValueError(f"stages begin at {grown.first_steps}, which {burst} does not divide")
    warm_up = Paced(ours, setting)
    warm_up.steps(_WARM_UP)
    warm_up.close()
    loops = {way: Paced(ours, setting, method=way, steps=steps) for way in ("apollo", "scratch")}
    stages = [_new_stage(stage.unique_layers, stage.steps) for stage in grown.stages]
    for first in range(0, steps, burst):
        stage, end = stages[grown.stage_number(first)], first + burst
        turn = list(loops) if first // burst % 2 else list(loops)[::-1]
        taken = {way: loops[way].steps(burst) for way in turn}
        if end in grown.first_steps:
            stage["growth_seconds"] += loops["apollo"].seconds_after_last
        if end in (*grown.first_steps, steps):  # what follows is no step, but a growth or the end of the run
            taken = {way: seconds - loops[way].seconds_after_last for way, seconds in taken.items()}
        stage["seconds"] += taken["apollo"]
        stage["scratch_seconds"] += taken["scratch"]
        stage["flops"] += sum(step_flops(grown, grown.at(step)) for step in range(first, end))
        stage["scratch_flops"] += sum(step_flops(scratch, scratch.at(step)) for step in range(first, end))
    for loop in loops.values():
        loop.close()
    return {"steps": steps, "tokens_a_step": setting.samples * setting.seq_len, "stages": stages}


def _new_stage(layers: int, steps: int) -> dict[str, Any]:
    times = dict.fromkeys(("seconds", "scratch_seconds", "growth_seconds", "flops", "scratch_flops"), 0.0)
    return {"layers": layers, "steps": steps, **times}


def savings(stages: list[dict[str, Any]]) -> tuple[float, float]:
    """Parts of the operations and of the time that these stages saved, growths left out."""
    flops, seconds = (
        1 - sum(s[key] for s in stages) / sum(s[f"scratch_{key}"] for s in stages) for key in ("flops", "seconds")
    )
    return flops, seconds
