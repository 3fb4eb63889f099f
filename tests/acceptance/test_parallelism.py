"""What docs/development/parallelism.md says of each kind of parallelism, and of each key of ZeRO++ and MiCS."""

from pathlib import Path
from typing import Any

import pytest
from ranks import RankPool, pool
from recipes import tiny, zero
from runs import events, losses, train
from unrefused import train_unrefused

SHORT: dict[str, Any] = {
    "steps": 20,
    "save_every": 10,
    "eval_every": 10,
    "method": {"name": "apollo", "layers": [1, 3, 6], "grow_at": [0.25, 0.5]},
}
_NOT_ON_CPU = "This op had not been implemented on CPU backend"
_REMOVED = "has been removed"
_TENSOR_PARALLEL = {"tensor_parallel": {"autotp_size": 2}}


@pytest.mark.parametrize(
    ("family", "keys", "wrong"),
    [
        ("gpt2", {"zero_optimization": {"zero_quantized_weights": True}}, _NOT_ON_CPU),
        ("gpt2", {"zero_optimization": {"zero_quantized_nontrainable_weights": True}}, _NOT_ON_CPU),
        ("gpt2", {"zero_optimization": {"zero_quantized_gradients": True}}, _NOT_ON_CPU),
        ("gpt2", {"zero_optimization": {"mics_shard_size": 2}}, _REMOVED),
        ("gpt2", {"zero_optimization": {"mics_hierarchical_params_gather": True}}, _REMOVED),
        ("gpt2", {"zero_optimization": {"zeropp_loco_param": {"err_beta": 0.8}}}, _REMOVED),
        ("gpt2", _TENSOR_PARALLEL, "AutoTP not supported for model"),
        ("bert", _TENSOR_PARALLEL, "Data inconsistency within the TP group"),
    ],
)
def test_what_is_refused_would_fail(family: str, keys: dict[str, Any], wrong: str, tmp_path: Path) -> None:
    stage = 1 if "tensor_parallel" in keys else 3
    ranks = RankPool(2)  # own ranks: what failed in DeepSpeed may stay in them
    told = ranks.run(train_unrefused, tiny(family, tmp_path / "run", **SHORT, deepspeed=zero(stage)), keys)
    ranks.stop()
    assert wrong in told[0]


@pytest.mark.parametrize(("ranks", "group"), [(2, 1), (2, 2), (4, 2)])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_copies_of_weights_change_no_bit(ranks: int, group: int, precision: str, tmp_path: Path) -> None:
    """hpZ, through two growths and a resume."""
    config = zero(3, precision)
    config["zero_optimization"]["zero_hpz_partition_size"] = group
    plain = tiny("gpt2", tmp_path / "plain", **SHORT, deepspeed=zero(3, precision))
    copied = tiny("gpt2", tmp_path / "copied", **SHORT, deepspeed=config)
    pool(ranks).run(train, plain)
    pool(ranks).run(train, copied, 13)
    pool(ranks).run(train, copied)
    assert losses(copied) == losses(plain)
    assert events(copied, "eval") == events(plain, "eval")


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
@pytest.mark.parametrize("family", ["bert", "gpt2"])
@pytest.mark.parametrize(("ranks", "degree"), [(2, 2), (4, 2), (4, 4)])
def test_shared_samples_train_as_whole_ones(family: str, stage: int, ranks: int, degree: int, tmp_path: Path) -> None:
    model = {**tiny(family, "unused").model.model_dump(), "num_heads": 4}
    keys = {**SHORT, "model": model, "deepspeed": zero(stage)}
    whole, shared = tiny(family, tmp_path / "whole", **keys), tiny(family, tmp_path / "shared", **keys)
    pool(ranks).run(train, whole)
    pool(ranks).run(train, shared.model_copy(update={"sequence_parallel": degree}))
    for kind, key in (("step", "loss"), ("step", "grad_norm"), ("eval", "loss"), ("growth", "loss_after")):
        ours, theirs = ([event[key] for event in events(one, kind)] for one in (shared, whole))
        assert ours == pytest.approx(theirs, abs=2e-6, rel=0), (kind, key)
