"""DeepSpeed's configuration in a recipe: which keys it must not have, and which precision it means."""

from collections.abc import Mapping
from typing import Any, Literal

from apollo_ds.errors import UserError

# What the recipe or the engine decides; set in DeepSpeed's file too, the two could disagree.
_DECIDED_ELSEWHERE = {
    "train_batch_size": "global_batch_size",
    "train_micro_batch_size_per_gpu": "micro_batch_size",
    "gradient_accumulation_steps": "micro_batch_size",
    "optimizer": "weight_decay, adam_betas and adam_epsilon",
    "scheduler": "lr_schedule",
}


def check_deepspeed(config: Mapping[str, Any]) -> None:
    """Look for what would contradict the recipe.

    Raises:
        UserError: something does; names the key.
    """
    for key, instead in _DECIDED_ELSEWHERE.items():
        if key in config:
            raise UserError(f"deepspeed.{key} is set by the recipe's {instead}; remove it")
    for key in ("zero_optimization", "bf16", "fp16"):
        if not isinstance(config.get(key, {}), dict):
            raise UserError(f"deepspeed.{key} must be a mapping, not {config[key]!r}")
    enabled = config.get("bf16", {}).get("enabled", False)
    if not isinstance(enabled, bool) and enabled != "auto":
        raise UserError(f"deepspeed.bf16.enabled: choose true, false or auto, not {enabled!r}")
    if "torch_autocast" in config:
        raise UserError("deepspeed.torch_autocast is not supported; use bf16 or fp16")
    if config.get("zero_optimization", {}).get("round_robin_gradients"):
        raise UserError("deepspeed.zero_optimization.round_robin_gradients must be off: it hides which rank owns what")


Precision = Literal["fp32", "bf16", "fp16"]


def precision(config: Mapping[str, Any]) -> Precision:
    """The number format that a settled DeepSpeed configuration computes in."""
    for name in ("bf16", "fp16"):
        if config.get(name, {}).get("enabled"):
            return name
    return "fp32"


def zero_stage(config: Mapping[str, Any]) -> int:
    """The ZeRO stage that a DeepSpeed configuration names; 0 where it names none."""
    return int(config.get("zero_optimization", {}).get("stage", 0))


def with_zero_stage(config: Mapping[str, Any], stage: int) -> dict[str, Any]:
    """The configuration with another ZeRO stage."""
    return {**config, "zero_optimization": {**config.get("zero_optimization", {}), "stage": stage}}


def offloads(config: Mapping[str, Any]) -> bool:
    """Whether optimizer or weights live in the host's memory."""
    return bool({"offload_optimizer", "offload_param", "cpu_offload"} & set(config.get("zero_optimization", {})))


def settle(config: Mapping[str, Any], computes_bf16: bool, world_size: int) -> dict[str, Any]:
    """The configuration with what depends on the machine decided.

    - `bf16.enabled: auto` is on where the hardware computes in bf16, off elsewhere.
    - A single rank under ZeRO 1 or 2 without offload has nothing to shard or send. In fp32 it trains under ZeRO 0,
      which keeps no second copy of the weights. In half precision communication does not overlap with the backward:
      that would cost copies and, on a GPU, a wait for the device.
    - DeepSpeed's throughput timer is off unless the configuration sets it, since it waits for the device in every step.
    """
    settled = {"timers": {"throughput": {"enabled": False}}, **config}
    if config.get("bf16", {}).get("enabled") == "auto":
        settled["bf16"] = {**config["bf16"], "enabled": computes_bf16}
    if world_size > 1 or offloads(config) or zero_stage(config) not in (1, 2):
        return settled
    alone = {"overlap_comm": False, "contiguous_gradients": False}
    settled["zero_optimization"] = {**config["zero_optimization"], **alone}
    return with_zero_stage(settled, 0) if precision(settled) == "fp32" else settled
