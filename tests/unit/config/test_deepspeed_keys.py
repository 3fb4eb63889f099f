"""The keys of DeepSpeed's configuration that this project knows are those of the DeepSpeed that is installed."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest
from deepspeed.comm.config import CommsLoggerConfig
from deepspeed.runtime.config import DeepSpeedConfig
from deepspeed.runtime.config_utils import DeepSpeedConfigModel
from deepspeed.runtime.precision_config import DeepSpeedBF16Config, DeepSpeedFP16Config
from deepspeed.runtime.zero.config import DeepSpeedZeroConfig
from deepspeed.runtime.zero.offload_config import DeepSpeedZeroOffloadOptimizerConfig, DeepSpeedZeroOffloadParamConfig
from deepspeed.utils.config import DeepSpeedThroughputTimerConfig
from pydantic import BaseModel

from apollo_ds.config.deepspeed import check_deepspeed, settle
from apollo_ds.config.deepspeed_keys import (
    REFUSED,
    Bf16,
    CommsLogger,
    DeepSpeedKeys,
    Fp16,
    Offload,
    Throughput,
    Zero,
    without_refused,
)
from apollo_ds.errors import UserError

REMOVED_OF_ZERO = {"mics_shard_size", "mics_hierarchical_params_gather", "zeropp_loco_param"}


def refused_within(place: str) -> set[str]:
    return {name.removeprefix(f"{place}.") for name in REFUSED if name.startswith(f"{place}.")}


@pytest.mark.parametrize(
    ("ours", "theirs", "place"),
    [
        (Bf16, DeepSpeedBF16Config, "bf16"),
        (Fp16, DeepSpeedFP16Config, "fp16"),
        (Zero, DeepSpeedZeroConfig, "zero_optimization"),
        (Offload, DeepSpeedZeroOffloadParamConfig, "zero_optimization.offload_param"),
        (Offload, DeepSpeedZeroOffloadOptimizerConfig, "zero_optimization.offload_optimizer"),
        (Throughput, DeepSpeedThroughputTimerConfig, "timers.throughput"),
        (CommsLogger, CommsLoggerConfig, "comms_logger"),
    ],
)
def test_each_key_of_deepspeed_s_classes_is_taken_or_refused(
    ours: type[BaseModel], theirs: type[DeepSpeedConfigModel], place: str
) -> None:
    refused = {name for name in refused_within(place) if "." not in name}
    assert not refused & ours.model_fields.keys()
    known = {field.alias or name for name, field in theirs.model_fields.items()}
    assert refused - REMOVED_OF_ZERO | ours.model_fields.keys() == known


class Asked(dict[str, Any]):
    """Notes the keys that somebody looks for."""

    def __init__(self, values: dict[str, Any]) -> None:
        super().__init__(values)
        self.names: set[Any] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.names.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> Any:
        self.names.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.names.add(key)
        return super().__contains__(key)

    def keys(self) -> Any:
        return _Keys(self)


class _Keys:
    def __init__(self, asked: Asked) -> None:
        self.asked = asked

    def __contains__(self, key: object) -> bool:
        return key in self.asked

    def __iter__(self) -> Iterator[str]:
        return iter(dict(self.asked))


def test_each_key_that_deepspeed_looks_for_is_taken_or_refused() -> None:
    asked = Asked({"train_micro_batch_size_per_gpu": 1})
    DeepSpeedConfig(asked)
    assert asked.names == DeepSpeedKeys.model_fields.keys() | {name for name in REFUSED if "." not in name}


@pytest.mark.parametrize(("value", "is_taken"), [(0, True), (1e-300, False), (1e-7, False), (1e-6, True), (1.0, True)])
def test_gradients_are_clipped_to_what_trains(value: float, is_taken: bool) -> None:
    with (
        nullcontext()
        if is_taken
        else pytest.raises(UserError, match=r"gradient_clipping: must be 0, .* at least 1e-06")
    ):
        check_deepspeed({"gradient_clipping": value})


@pytest.mark.parametrize("off", [False, None, {"enabled": False}])
def test_what_training_does_not_use_may_be_switched_off(off: Any) -> None:
    config = {"tensorboard": off, "zero_optimization": {"stage": 1, "zenflow": off}}
    assert without_refused(config) == {"zero_optimization": {"stage": 1}}
    for ranks in (1, 2):  # nor does DeepSpeed see it
        settled = settle(config, computes_bf16=True, world_size=ranks)
        assert "tensorboard" not in settled
        assert "zenflow" not in settled["zero_optimization"]
    with pytest.raises(UserError, match=r"^zero_optimization.zenflow is not supported here; remove it$"):
        without_refused({"zero_optimization": {"zenflow": {"enabled": True}}})


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"zero_optimization": {"stage": 2}, "prescale_gradients": True}, "prescale_gradients"),
        ({"zero_optimization": {"stage": 3}, "gradient_predivide_factor": 4.0}, "gradient_predivide_factor"),
        ({"fp16": {"enabled": True, "hysteresis": 3}}, "fp16"),
        ({"bf16": {"enabled": "auto"}, "data_types": {"grad_accum_dtype": "fp32"}}, "data_types.grad_accum_dtype"),
    ],
)
def test_what_deepspeed_fails_with_is_refused_before(config: dict[str, Any], named: str) -> None:
    with pytest.raises(UserError, match=rf"^deepspeed\.{named}: .* remove (it|them), or set zero_optimization\."):
        check_deepspeed(config)


@pytest.mark.parametrize("key", ["weights", "nontrainable_weights", "gradients"])
def test_what_rounds_between_ranks_is_refused(key: str) -> None:
    with pytest.raises(
        UserError,
        match=rf"^deepspeed\.zero_optimization\.zero_quantized_{key} is not supported: it rounds .*; remove it$",
    ):
        check_deepspeed({"zero_optimization": {"stage": 3, f"zero_quantized_{key}": True}})


@pytest.mark.parametrize("key", sorted(REMOVED_OF_ZERO))
def test_what_deepspeed_has_removed_is_refused(key: str) -> None:
    with pytest.raises(UserError, match=rf"^deepspeed\.zero_optimization\.{key} was removed from DeepSpeed; remove"):
        check_deepspeed({"zero_optimization": {"stage": 3, key: 2}})


@pytest.mark.parametrize(("stage", "is_taken"), [(0, False), (2, False), (3, True)])
def test_copies_of_the_weights_within_a_group_are_for_zero_3(stage: int, is_taken: bool) -> None:
    with nullcontext() if is_taken else pytest.raises(UserError, match=r"hpz_partition_size: is for stage 3, not \d;"):
        check_deepspeed({"zero_optimization": {"stage": stage, "zero_hpz_partition_size": 2}})


def test_what_deepspeed_does_not_fail_with_is_taken() -> None:
    check_deepspeed({"zero_optimization": {"stage": 2, "reduce_scatter": False}, "prescale_gradients": True})
    check_deepspeed({"zero_optimization": {"stage": 1}, "gradient_predivide_factor": 4.0})
    check_deepspeed({"data_types": {"grad_accum_dtype": "fp32"}})
