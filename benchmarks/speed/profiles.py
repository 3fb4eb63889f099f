"""Where the time of a step goes: operations by what they are for, and a trace to open."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

from apollo_ds.engine.processes import Processes
from speed.bare_steps import bare_steps
from speed.settings import Setting, recipe_of

_STEPS = 5
_WARM_UP = 3

_GROUPS = {
    "communication": ("c10d::", "gloo:", "nccl", "deepspeed_comm", "inference_all_reduce"),
    "AdamW": ("_fused_adamw", "AdamW"),
    "matrix products": ("::mm", "::addmm", "::bmm", "::baddbmm", "::matmul", "::linear", "gemm", "nvjet"),
    "attention": ("attention", "flash", "fmha"),
    "normalisation": ("layer_norm", "norm_kernel"),
    "activation": ("gelu", "tanh", "pow"),
    "loss": ("cross_entropy", "softmax", "amax", "scatter_add", "WithGradients", "nll_loss"),
    "embedding": ("embedding", "index", "gather", "scatter"),
    "copies and sums": ("copy_", "::add", "::cat", "::mul", "::div", "::sum", "zero_", "fill_", "clone", "norm"),
}


def profile_steps(steps: Callable[[int], float], count: int, trace: Path | None = None) -> dict[str, Any]:
    """Run `steps(count)`, which returns seconds, under PyTorch's profiler.

    Returns milliseconds a step by group; what no operation accounts for is Python and waiting. A trace, if wanted, is
    of these steps, for chrome://tracing or Perfetto.
    """
    activities = [ProfilerActivity.CPU]
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        activities.append(ProfilerActivity.CUDA)
    with profile(activities=activities) as profiler:
        seconds = steps(count)
    if trace:
        trace.parent.mkdir(parents=True, exist_ok=True)
        profiler.export_chrome_trace(str(trace))
    groups: dict[str, float] = {}
    for event in profiler.key_averages():
        if event.device_type != DeviceType.CPU:
            continue  # the operation that started it has its time too
        microseconds = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        group = _group_of(event.key)
        groups[group] = groups.get(group, 0.0) + microseconds / 1000 / count
    whole = seconds * 1000 / count
    groups["Python and waiting"] = whole - sum(groups.values())
    return {"milliseconds": whole, "groups": dict(sorted(groups.items(), key=lambda item: -item[1]))}


def _group_of(name: str) -> str:
    return next((group for group, parts in _GROUPS.items() if any(part in name for part in parts)), "other operations")


def measure(setting: Setting, processes: Processes, folder: Path, name: str) -> dict[str, Any]:
    """Groups of a step of one layer at depth 1, and of all layers at full depth; a trace of each step in the folder."""
    found = {}
    for depth in (1, setting.shape.num_layers):
        steps = bare_steps(recipe_of(setting, processes, layers=depth), processes)
        steps(_WARM_UP)
        profile_steps(steps, 1, folder / f"{name}-depth-{depth}.json.gz")
        found[str(depth)] = profile_steps(steps, _STEPS)
    return found
