"""The keys of DeepSpeed's configuration: the keys that training uses with their types, and the others with reasons.

DeepSpeed 0.19.8 does not check many values, and its own classes take seconds to import. A test compares this file with
them.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from apollo_ds.errors import UserError


def _whole(value: Any) -> Any:
    """Make a whole float an integer: DeepSpeed's own pages write sizes such as 5e8."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


_Whole = Annotated[int, Field(ge=0), BeforeValidator(_whole)]
_Positive = Annotated[int, Field(ge=1), BeforeValidator(_whole)]


class _Keys(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Bf16(_Keys):
    """`bf16`."""

    enabled: Literal[True, False, "auto"] = False
    immediate_grad_update: bool = False
    check_grad_overflow: bool = True


class Fp16(_Keys):
    """`fp16`. The loss is scaled by at most 2**32, so that it stays finite."""

    enabled: bool = False
    loss_scale: float = Field(default=0, ge=0, le=2**32)
    initial_scale_power: Annotated[_Whole, Field(le=32)] = 16
    loss_scale_window: _Positive = 1000
    hysteresis: _Positive = 2
    consecutive_hysteresis: bool = False
    min_loss_scale: Annotated[_Positive, Field(le=2**32)] = 1


class Offload(_Keys):
    """`zero_optimization.offload_optimizer` and `offload_param`."""

    device: Literal["none", "cpu"] = "none"
    pin_memory: bool = True


class Zero(_Keys):
    """`zero_optimization`."""

    stage: Annotated[_Whole, Field(le=3)] = 0
    contiguous_gradients: bool = True
    reduce_scatter: bool = True
    reduce_bucket_size: _Positive = 500_000_000
    use_multi_rank_bucket_allreduce: bool = True
    allgather_partitions: bool = True
    allgather_bucket_size: _Positive = 500_000_000
    overlap_comm: bool | None = None
    offload_param: Offload | None = None
    offload_optimizer: Offload | None = None
    sub_group_size: _Positive = 1_000_000_000
    stage3_prefetch_bucket_size: _Whole = 50_000_000
    stage3_param_persistence_threshold: _Whole = 100_000
    stage3_model_persistence_threshold: _Whole = 2**53
    stage3_max_live_parameters: _Whole = 1_000_000_000
    stage3_max_reuse_distance: _Whole = 1_000_000_000
    stage3_use_all_reduce_for_fetch_params: bool = False
    stage3_allgather_sequential: bool = False
    zero_hpz_partition_size: _Positive = 1
    ignore_unused_parameters: bool = True
    memory_efficient_linear: bool = True
    compute_grad_norm: Literal[True] = True
    override_module_apply: bool = True
    log_trace_cache_warnings: bool = False
    enable_sanity_checks: bool = False


class Throughput(_Keys):
    """`timers.throughput`."""

    enabled: bool = True
    synchronized: bool = True


class Timers(_Keys):
    """`timers`."""

    throughput: Throughput = Throughput()


class CommsLogger(_Keys):
    """`comms_logger`."""

    enabled: bool = False
    prof_all: bool = True
    prof_ops: list[str] = []
    verbose: bool = False
    debug: bool = False


class DataTypes(_Keys):
    """`data_types`."""

    grad_accum_dtype: Literal["fp32"] | None = None


class DeepSpeedKeys(_Keys):
    """The whole configuration."""

    bf16: Bf16 = Bf16()
    fp16: Fp16 = Fp16()
    zero_optimization: Zero = Zero()
    gradient_clipping: float = Field(default=0.0, ge=0, le=1e9)
    steps_per_print: _Positive | None = None
    wall_clock_breakdown: bool = False
    memory_breakdown: bool = False
    dump_state: bool = False
    comms_logger: CommsLogger = CommsLogger()
    timers: Timers = Timers()
    data_types: DataTypes = DataTypes()
    communication_data_type: Literal["fp32", "fp16", "bf16"] | None = None
    prescale_gradients: bool = False
    gradient_predivide_factor: float = Field(default=1.0, ge=1e-6, le=1e6)
    zero_allow_untested_optimizer: bool = False
    zero_force_ds_cpu_optimizer: bool = True


_RECIPE = "is set by the recipe's {}; remove it"
_OLD = "is DeepSpeed's old name; write {}"
_REMOVED = "was removed from DeepSpeed; remove it"
_NO_EFFECT = "has no effect here; remove it"
_NVME = "is for NVMe, which is not supported; offload to the CPU"
_UNSUPPORTED = "is not supported here; remove it"
_SHARDS = "is not supported: it changes which rank owns what; remove it"
_ROUNDS = "is not supported: it rounds what ranks send to 8 or 4 bits, so that growths are not exact; remove it"
_RECORDS = "is not supported: a run writes metrics.jsonl, and the recipe's `trackers` say what else shows it; remove it"

REFUSED = {
    "train_batch_size": _RECIPE.format("global_batch_size"),
    "train_micro_batch_size_per_gpu": _RECIPE.format("micro_batch_size"),
    "gradient_accumulation_steps": _RECIPE.format("micro_batch_size"),
    "managed_gradient_accumulation": _RECIPE.format("micro_batch_size"),
    "optimizer": _RECIPE.format("optimizer, weight_decay, adam_betas and adam_epsilon"),
    "scheduler": _RECIPE.format("lr_schedule"),
    "activation_checkpointing": _RECIPE.format("activation_checkpointing"),
    "compile": _RECIPE.format("compile_blocks"),
    "bfloat16": _OLD.format("bf16"),
    "torch_autocast": "is not supported; use bf16 or fp16",
    "gradient_allreduce_op": "is not supported: gradients are averaged; remove it",
    "checkpoint": "is not supported: a run saves its own checkpoints; remove it",
    "datastates_ckpt": "is not supported: a run saves its own checkpoints; remove it",
    "disable_python_gc": "is not supported: a growth frees what was before it; remove it",
    "aio": _NVME,
    **dict.fromkeys(("tensorboard", "wandb", "csv_monitor", "comet", "flops_profiler"), _RECORDS),
    **dict.fromkeys(
        (
            "amp",
            "compression_training",
            "curriculum_learning",
            "eigenvalue",
            "elasticity",
            "graph_harvesting",
            "nebula",
            "progressive_layer_drop",
            "quantize_training",
            "sparse_attention",
        ),
        _REMOVED,
    ),
    **dict.fromkeys(
        (
            "autotuning",
            "data_efficiency",
            "expert_parallel",
            "hybrid_engine",
            "pipeline",
            "seq_parallel_communication_data_type",
            "sparse_gradients",
            "tensor_parallel",
            "use_data_before_expert_parallelism",
            "weight_quantization",
        ),
        _UNSUPPORTED,
    ),
    **dict.fromkeys(("dataloader_drop_last", "disable_allgather", "log_level", "vocabulary_size"), _NO_EFFECT),
    **{f"bf16.{key}": _UNSUPPORTED for key in ("bf16_master_weights_and_grads", "bf16_optimizer_states")},
    "fp16.fp16_master_weights_and_grads": _UNSUPPORTED,
    "fp16.auto_cast": _NO_EFFECT,
    **{f"data_types.{key}": _UNSUPPORTED for key in ("param_dtype", "buffer_dtype", "keep_in_fp32_modules")},
    **{
        f"zero_optimization.{key}": why
        for key, why in {
            "round_robin_gradients": _SHARDS,
            "parameter_alignment": _SHARDS,
            "legacy_stage1": _SHARDS,
            "zero_quantized_weights": _ROUNDS,
            "zero_quantized_nontrainable_weights": _ROUNDS,
            "zero_quantized_gradients": _ROUNDS,
            "zenflow": _UNSUPPORTED,
            "leaf_module": _UNSUPPORTED,
            "stage3_module_granularity_threshold": _UNSUPPORTED,
            "cpu_offload": _OLD.format("offload_optimizer"),
            "cpu_offload_param": _OLD.format("offload_param"),
            "cpu_offload_use_pin_memory": _OLD.format("pin_memory in offload_optimizer"),
            "load_from_fp32_weights": _NO_EFFECT,
            "elastic_checkpoint": _NO_EFFECT,
            "pipeline_loading_checkpoint": _NO_EFFECT,
            "save_muon_momentum_buffer_in_memory": _NO_EFFECT,
            "stage3_gather_16bit_weights_on_model_save": _NO_EFFECT,
            "stage3_gather_fp16_weights_on_model_save": _NO_EFFECT,
            **dict.fromkeys(("mics_shard_size", "mics_hierarchical_params_gather", "zeropp_loco_param"), _REMOVED),
            "offload_optimizer.ratio": _UNSUPPORTED,
            "offload_optimizer.super_offload": _UNSUPPORTED,
            "offload_optimizer.cpuadam_cores_perc": _NO_EFFECT,
            **{
                f"offload_optimizer.{key}": _NVME
                for key in ("nvme_path", "buffer_count", "pipeline_read", "pipeline_write", "fast_init")
            },
            **{f"offload_param.{key}": _NVME for key in ("nvme_path", "buffer_count", "buffer_size", "max_in_cpu")},
        }.items()
    },
}
"""Keys of DeepSpeed that are refused, with the reasons."""


def without_refused(config: Any, within: str = "") -> Any:
    """A configuration without the keys that training does not use. Such a key is allowed if it is switched off.

    Raises:
        UserError: one of them is switched on. The message names it without `deepspeed.` before it.
    """
    if not isinstance(config, dict):
        return config
    kept = {}
    for key, value in config.items():
        name = f"{within}{key}"
        if name not in REFUSED:
            kept[key] = without_refused(value, f"{name}.")
        elif not _is_off(value):
            raise UserError(f"{name} {REFUSED[name]}")
    return kept


def _is_off(value: Any) -> bool:
    return value is False or value is None or (isinstance(value, dict) and value.get("enabled") is False)
