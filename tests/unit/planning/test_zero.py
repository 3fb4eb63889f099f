"""What a rank keeps under each ZeRO stage, and that stages of a run may train under different ones."""

import pytest
from project import PROJECT

from apollo_ds.config.load import load_recipe
from apollo_ds.config.recipe import Recipe
from apollo_ds.models.flops import parameters
from apollo_ds.planning.zero import stage_bytes, state_bytes, zero_stages

BERT_BASE = PROJECT / "launch" / "recipes" / "bert-base.yaml"


@pytest.mark.parametrize(("stage", "expected"), [(0, 16.0), (1, 4 + 12 / 8), (2, 2 + 14 / 8), (3, 16 / 8)])
def test_zero_parts_16_bytes_a_parameter(stage: int, expected: float) -> None:
    assert state_bytes(1_000_000, 1_000_000, stage, ranks=8, bytes_a_number=2) == pytest.approx(expected * 1e6)


def test_fp32_without_zero_keeps_no_second_copy_of_the_weights() -> None:
    assert state_bytes(1_000_000, 1_000_000, 0, ranks=8, bytes_a_number=4) == 16e6
    assert state_bytes(1_000_000, 1_000_000, 1, ranks=1, bytes_a_number=4) == 20e6


def test_what_is_frozen_has_weights_only() -> None:
    assert state_bytes(1_000_000, 250_000, 0, ranks=8, bytes_a_number=4) == 7e6
    assert state_bytes(1_000_000, 250_000, 2, ranks=2, bytes_a_number=2) == 3.75e6


def test_what_is_offloaded_is_not_on_the_gpu() -> None:
    both = ["offload_optimizer", "offload_param"]
    assert state_bytes(1_000_000, 1_000_000, 2, 8, 2, ["offload_optimizer"]) == 2e6 + 2e6 / 8
    assert state_bytes(1_000_000, 1_000_000, 3, 8, 2, both) == 2e6 / 8
    assert state_bytes(1_000_000, 1_000_000, 0, 8, 2, both) == 16e6  # without ZeRO nothing is


def test_a_group_of_ranks_with_a_copy_of_the_weights_keeps_a_part_each() -> None:
    plain = load_recipe(BERT_BASE, ["deepspeed.zero_optimization.stage=3"]).settled(computes_bf16=True, world_size=64)
    zero = {**plain.deepspeed["zero_optimization"], "zero_hpz_partition_size": 8}
    copied = plain.model_copy(update={"deepspeed": {**plain.deepspeed, "zero_optimization": zero}})
    stage = plain.schedule().stages[-1]
    weights = 2 * parameters(stage.shape, stage.unique_layers)
    for ranks, size in ((64, 8), (4, 4)):
        more = stage_bytes(copied, stage, 3, ranks) - stage_bytes(plain, stage, 3, ranks)
        assert more == pytest.approx(weights / size)
    assert stage_bytes(copied, stage, 2, 64) == stage_bytes(plain, stage, 2, 64)


def stages_of(recipe: Recipe, ranks: int) -> list[int]:
    return zero_stages(recipe, recipe.schedule().stages, ranks)


@pytest.mark.parametrize(
    ("words", "ranks", "expected"),
    [
        # Of BERT-base's 109.5 million parameters its first stages have 31.6, 45.7 and 67.0.
        (["deepspeed=ds_configs/zero1_fp32.json"], 2, [0, 0, 0, 1]),  # 14 bytes; 16 for 67.0 million are less
        (["deepspeed=ds_configs/zero1_fp32.json"], 8, [0, 0, 1, 1]),  # 9.5 bytes
        (["deepspeed=ds_configs/zero3.json"], 8, [1, 2, 3, 3]),  # 2 bytes; 5.5 for 31.6, 3.75 for 45.7 are less
        (["deepspeed=ds_configs/zero2.json"], 8, [1, 1, 1, 2]),  # half precision never goes below 1
        (["deepspeed=ds_configs/zero1.json"], 8, [1, 1, 1, 1]),
    ],
)
def test_stages_take_the_lowest_that_fits(words: list[str], ranks: int, expected: list[int]) -> None:
    assert stages_of(load_recipe(BERT_BASE, [*words, "zero_by_stage=true"]), ranks) == expected
    stated = load_recipe(BERT_BASE, words)
    assert len(set(stages_of(stated, ranks))) == 1


@pytest.mark.parametrize("config", ["zero1", "zero2", "zero3", "zero1_fp32"])
@pytest.mark.parametrize("method", ["apollo", "{name: mslt, joint_fraction: 0}", "staged", "ligo"])
@pytest.mark.parametrize("ranks", [1, 2, 3, 8, 64])
def test_no_stage_keeps_more_than_the_largest_one_does(config: str, method: str, ranks: int) -> None:
    words = [f"deepspeed=ds_configs/{config}.json", f"method={method}", "zero_by_stage=true"]
    recipe = load_recipe(BERT_BASE, words)
    stages = recipe.schedule().stages
    stated = recipe.deepspeed["zero_optimization"]["stage"]
    room = max(stage_bytes(recipe, stage, stated, ranks) for stage in stages)
    for stage, zero_stage in zip(stages, stages_of(recipe, ranks), strict=True):
        assert zero_stage <= stated
        assert stage_bytes(recipe, stage, zero_stage, ranks) <= room


def test_what_is_offloaded_or_whole_already_stays_so() -> None:
    for config, stage in (("zero0", 0), ("zero2_offload", 2)):
        recipe = load_recipe(BERT_BASE, [f"deepspeed=ds_configs/{config}.json", "zero_by_stage=true"])
        assert stages_of(recipe, ranks=8) == [stage] * 4


def test_muon_keeps_one_moment_of_the_matrices_of_the_layers() -> None:
    adamw, muon = (load_recipe(BERT_BASE, [f"optimizer={name}"]).settled(True, 8) for name in ("adamw", "muon"))
    stage = adamw.schedule().stages[-1]
    matrices = stage.unique_layers * (4 * 768**2 + 2 * 768 * 3072)
    for zero, parts in ((0, 1), (1, 8), (2, 8), (3, 8)):
        fewer = stage_bytes(adamw, stage, zero, 8) - stage_bytes(muon, stage, zero, 8)
        assert fewer == pytest.approx(4 * matrices / parts)
