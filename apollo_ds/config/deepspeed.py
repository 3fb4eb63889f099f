"""Check DeepSpeed's configuration in a recipe, read from it, and settle what depends on the machine."""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import ValidationError

from apollo_ds.config.complaint import complaint
from apollo_ds.config.deepspeed_keys import REFUSED, DeepSpeedKeys, without_refused
from apollo_ds.errors import UserError

_LEAST_CLIPPING = 1e-6
_BUCKET = 50_000_000
"""How many gradients are averaged at a time if the configuration does not say. With several such buckets, averaging
overlaps with the backward pass. DeepSpeed's own default is ten times as many, which is more than most models have."""
_BUCKET_WITHOUT_ZERO = 500_000_000
"""How many gradients DeepSpeed 0.19.8 averages at a time at stage 0, whatever the configuration says."""


def check_deepspeed(config: Mapping[str, Any]) -> None:
    """Check that training uses all keys of a configuration, and that their values fit each other and the recipe.

    Raises:
        UserError: something is wrong. The message names the key.
    """
    if blanks := list(_left_blank(config)):
        clipping = "; without gradient_clipping nothing is clipped" if "gradient_clipping" in blanks else ""
        raise UserError(
            "deepspeed: only the Trainer of transformers fills in 'auto'; remove these keys, so that the recipe or "
            f"DeepSpeed decides them: {', '.join(blanks)}{clipping}"
        )
    try:
        keys = DeepSpeedKeys.model_validate(without_refused(config))
    except UserError as error:
        raise UserError(f"deepspeed.{error}") from None
    except ValidationError as error:
        raise UserError(complaint(error, DeepSpeedKeys, "deepspeed")) from None
    if 0 < keys.gradient_clipping < _LEAST_CLIPPING:
        raise UserError(
            f"deepspeed.gradient_clipping: must be 0, which clips nothing, or at least {_LEAST_CLIPPING:g}, not "
            f"{keys.gradient_clipping:g}: such small gradients train nothing"
        )
    if keys.bf16.enabled and keys.fp16.enabled:
        raise UserError("deepspeed.bf16 and deepspeed.fp16 are both enabled; set one of them to enabled: false")
    _check_combinations(keys)
    zero = keys.zero_optimization
    if offloads(config) and not zero.stage:
        raise UserError("deepspeed.zero_optimization: offloading needs a stage of 1, 2 or 3; set stage, or remove it")
    if zero.offload_param and zero.offload_param.device != "none" and zero.stage != 3:
        raise UserError(f"deepspeed.zero_optimization.offload_param: is for stage 3, not {zero.stage}; remove it")
    if zero.offload_optimizer and zero.offload_optimizer.device != "none" and keys.zero_force_ds_cpu_optimizer:
        raise UserError(
            "deepspeed: add zero_force_ds_cpu_optimizer: false; without it DeepSpeed offloads only its own optimizer, "
            "and the recipe has another"
        )


def _check_combinations(keys: DeepSpeedKeys) -> None:
    """Look for combinations of keys that DeepSpeed 0.19.8 accepts, and then fails with or ignores."""
    zero = keys.zero_optimization
    scaled_before = "prescale_gradients" if keys.prescale_gradients else "gradient_predivide_factor"
    if zero.stage >= 2 and zero.reduce_scatter and (keys.prescale_gradients or keys.gradient_predivide_factor != 1.0):
        raise UserError(
            f"deepspeed.{scaled_before}: is not for ZeRO {zero.stage} with reduce_scatter; remove it, or set "
            "zero_optimization.reduce_scatter: false"
        )
    if zero.zero_hpz_partition_size > 1 and zero.stage != 3:
        raise UserError(
            f"deepspeed.zero_optimization.zero_hpz_partition_size: is for stage 3, not {zero.stage}; remove it"
        )
    if zero.stage == 0 and keys.fp16.enabled and (keys.fp16.hysteresis != 2 or keys.fp16.consecutive_hysteresis):
        raise UserError(
            "deepspeed.fp16: hysteresis and consecutive_hysteresis have no effect without ZeRO; remove them, or set "
            "zero_optimization.stage to 1"
        )
    if zero.stage == 0 and (keys.bf16.enabled or keys.fp16.enabled) and keys.data_types.grad_accum_dtype == "fp32":
        raise UserError(
            "deepspeed.data_types.grad_accum_dtype: fp32 is not for bf16 or fp16 without ZeRO; remove it, or set "
            "zero_optimization.stage to 1"
        )


def _left_blank(config: Mapping[str, Any], within: str = "") -> Iterator[str]:
    """The keys with the value `auto`, which files for the Trainer of transformers have.

    For a key that training does not use, the whole key is named.
    """
    for key, value in config.items():
        name = f"{within}{key}"
        inside = list(_left_blank(value, f"{name}.")) if isinstance(value, Mapping) else []
        if (name in REFUSED and inside) or (value == "auto" and name != "bf16.enabled"):
            yield name
        else:
            yield from inside


Precision = Literal["fp32", "bf16", "fp16"]


def precision(config: Mapping[str, Any]) -> Precision:
    """The precision in which a settled DeepSpeed configuration computes."""
    for name in ("bf16", "fp16"):
        if config.get(name, {}).get("enabled"):
            return name
    return "fp32"


def zero_stage(config: Mapping[str, Any]) -> int:
    """The ZeRO stage of a DeepSpeed configuration. 0 if it names none."""
    return int(config.get("zero_optimization", {}).get("stage", 0))


def with_zero_stage(config: Mapping[str, Any], stage: int) -> dict[str, Any]:
    """The configuration with another ZeRO stage."""
    return {**config, "zero_optimization": {**config.get("zero_optimization", {}), "stage": stage}}


def offloaded(config: Mapping[str, Any]) -> list[str]:
    """The keys that move something into the host's memory: `offload_optimizer`, `offload_param`, both or none."""
    parts = {key: config.get("zero_optimization", {}).get(key) or {} for key in ("offload_optimizer", "offload_param")}
    return [key for key, part in parts.items() if part.get("device", "none") != "none"]


def offloads(config: Mapping[str, Any]) -> bool:
    """Whether the optimizer or the weights are in the host's memory."""
    return bool(offloaded(config))


def settle(config: Mapping[str, Any], computes_bf16: bool, world_size: int) -> dict[str, Any]:
    """The configuration for this machine. It decides what the given one leaves open:

    - `bf16.enabled: auto` becomes on if the hardware computes in bf16, else off.
    - A single rank under ZeRO 1 or 2 without offload has nothing to shard or send. In fp32 it trains under ZeRO 0,
      which keeps no second copy of the weights. In half precision it does not overlap communication with the backward
      pass: that would cost copies and, on a GPU, a wait for the device.
    - Keys that training does not use, and that are switched off, are removed: DeepSpeed does not accept all of them.
    - DeepSpeed's throughput timer is off unless the configuration sets it: it waits for the device in every step.
    """
    settled = {"timers": {"throughput": {"enabled": False}}, **without_refused(config)}
    if settled.get("bf16", {}).get("enabled") == "auto":
        settled["bf16"] = {**settled["bf16"], "enabled": computes_bf16}
    if world_size > 1 or offloads(config) or zero_stage(config) not in (1, 2):
        return settled
    alone = {"overlap_comm": False, "contiguous_gradients": False}
    settled["zero_optimization"] = {**settled["zero_optimization"], **alone}
    return with_zero_stage(settled, 0) if precision(settled) == "fp32" else settled


def with_buckets(config: Mapping[str, Any], trained: int) -> dict[str, Any]:
    """The configuration for a model with `trained` trained parameters: no bucket is larger than all of its gradients.

    If one bucket holds all gradients, averaging begins after the last one. Then it is not overlapped with the backward
    pass at ZeRO 1 and 2: that would take a second buffer, and make the host wait for the device.
    """
    zero = {"reduce_bucket_size": _BUCKET, **config.get("zero_optimization", {})}
    zero["reduce_bucket_size"] = min(int(zero["reduce_bucket_size"]), max(1, trained))
    if zero_stage(config) in (1, 2) and zero["reduce_bucket_size"] == trained:
        zero["overlap_comm"] = False
    return {**config, "zero_optimization": zero}


def bucket_elements(config: Mapping[str, Any], trained: int, ranks: int) -> int:
    """How many numbers a rank's buffers for averaging gradients hold. The configuration must be settled."""
    if zero_stage(config) == 0:
        return min(_BUCKET_WITHOUT_ZERO, trained) if ranks > 1 else 0
    zero = with_buckets(config, trained)["zero_optimization"]
    is_buffer = zero.get("contiguous_gradients", True) or offloads(config)
    if ranks == 1 and not is_buffer:
        return 0
    two = zero_stage(config) < 3 and is_buffer and zero.get("overlap_comm", False)
    return int(zero["reduce_bucket_size"]) * (2 if two else 1)
