"""Lists of stages: what they come to, and each mistake that there can be."""

from typing import Any

import pytest
from planned import shape
from sources import half_as_deep

from apollo_ds.errors import UserError
from apollo_ds.methods import METHODS, Combination, Run
from apollo_ds.models.families import PRESETS
from apollo_ds.schedule.growable import check_growths
from apollo_ds.schedule.stage import Stage


def stages(method: str, depth: int, **options: Any) -> list[Stage]:
    """Of BERT-base with so many layers, in 4,000 steps."""
    shape = PRESETS["bert-base"].model_copy(update={"num_layers": depth})
    return METHODS[method](name=method, **options).stages(Run(shape, 4000, seq_len=128, global_batch_size=8))


LISTED = [
    {"fraction": 0.1, "layers": 3, "intermediate_size": 1024, "seq_len": 32, "learning_rate_scale": 2},
    {"fraction": 0.3, "layers": 3, "seq_len": 64},
    {"fraction": 0.6},
]


def test_compound_grow_takes_a_list_of_stages() -> None:
    planned = stages("compound_grow", 12, stage_list=LISTED)
    found = [(s.steps, s.unique_layers, s.shape.intermediate_size, s.seq_len, s.learning_rate_scale) for s in planned]
    assert found == [(400, 3, 1024, 32, 2), (1200, 3, 3072, 64, 1), (2400, 12, 3072, 128, 1)]
    assert not any(stage.restarts_learning_rate for stage in planned)
    assert all(s.restarts_learning_rate for s in stages("compound_grow", 12, restarts_learning_rate=True))


@pytest.mark.parametrize(
    ("number", "change", "expected"),
    [
        (0, {"fraction": 0.2}, r"stage_list: the fractions of its 3 stages add up to 1\.1; let them add up to 1"),
        (0, {"layers": 13}, r"stage_list\[0\]\.layers: 13 is more than the model's 12"),
        (1, {"layers": 2}, r"stage_list\[1\]\.layers: 2 is less than 3 in the stage before"),
        (1, {"intermediate_size": 512}, r"stage_list\[1\]\.intermediate_size: 512 is less than 1,024 in the stage bef"),
        (1, {"seq_len": 16}, r"stage_list\[1\]\.seq_len: 16 is less than 32 in the stage before"),
        (1, {"seq_len": 48}, r"stage_list\[1\]\.seq_len: 48 does not divide seq_len 128"),
        (2, {"layers": 6}, r"stage_list\[2\]\.layers: the last stage trains the whole model, so it is 12, not 6"),
        (2, {"seq_len": 64}, r"stage_list\[2\]\.seq_len: the last stage trains the whole model, so it is 128, not 64"),
    ],
)
def test_a_mistake_in_a_list_of_stages_is_told(number: int, change: dict[str, Any], expected: str) -> None:
    listed = [{**sizes, **(change if at == number else {})} for at, sizes in enumerate(LISTED)]
    with pytest.raises(UserError, match=rf"^method\.{expected}"):
        stages("compound_grow", 12, stage_list=listed)


@pytest.mark.parametrize(
    ("pools", "expected"),
    [
        ((3, 1), r"\[0\]\.pool: 3 does not divide the stage's 128 tokens"),
        ((2, 4, 1), r"\[1\]\.pool: 4 tokens are more than the 2 of the stage before"),
        ((4, 2), r"\[1\]\.pool: the last stage sees every token"),
    ],
)
def test_a_mistake_in_pools_is_told(pools: tuple[int, ...], expected: str) -> None:
    with pytest.raises(UserError, match=rf"^method\.stage_list{expected}"):
        stages("compound_grow", 12, stage_list=[{"fraction": 1 / len(pools), "pool": pool} for pool in pools])


@pytest.mark.parametrize(
    ("ranks", "options", "expected"),
    [
        ((16, 8, None), {}, r"stage_list\[1\]\.feed_forward_rank: 8 after rank 16 in the stage before"),
        ((None, 8, None), {}, r"stage_list\[1\]\.feed_forward_rank: 8 after whole matrices in the stage before"),
        ((16, 16), {}, r"stage_list\[1\]\.feed_forward_rank: the last stage has whole matrices"),
        ((615, None), {}, r"stage_list\[0\]\.feed_forward_rank: factors of rank 615 hold no less .* use at most 614"),
        ((16, None), {"new_layers": "zero"}, r"new_layers: zero is for whole matrices"),
    ],
)
def test_a_mistake_in_ranks_is_told(ranks: tuple[int | None, ...], options: dict[str, Any], expected: str) -> None:
    listed = [{"fraction": 1 / len(ranks), "feed_forward_rank": rank} for rank in ranks]
    with pytest.raises(UserError, match=rf"^method\.{expected}"):
        stages("compound_grow", 12, stage_list=listed, **options)


def test_whole_matrices_do_not_become_factors() -> None:
    listed = [{"fraction": 0.5, "layers": 6, "feed_forward_rank": 16}, {"fraction": 0.5}]
    source = half_as_deep(PRESETS["bert-base"])
    with pytest.raises(UserError, match=r"^method: whole matrices cannot become factors of rank 16; let the run begin"):
        check_growths(stages("compound_grow", 12, stage_list=listed, source=source))


def test_a_causal_model_is_not_pooled() -> None:
    method = METHODS["compound_grow"](
        name="compound_grow", stage_list=[{"fraction": 0.5, "pool": 2}, {"fraction": 0.5}]
    )
    with pytest.raises(UserError, match=r"\[0\]\.pool: a gpt2 continues text, and a pooled token would see the token"):
        method.stages(Run(PRESETS["gpt2-base"], 4000, seq_len=128, global_batch_size=8))


def test_a_listed_stage_has_the_first_layer_and_another_where_that_is_unlike() -> None:
    shape = PRESETS["modernbert-base"].model_copy(update={"num_layers": 12})
    method = METHODS["compound_grow"](name="compound_grow", stage_list=[{"fraction": 0.5, "layers": 1}, LISTED[2]])
    with pytest.raises(UserError, match="add up to"):
        method.stages(Run(shape, 4000, seq_len=128, global_batch_size=8))
    method = METHODS["compound_grow"](name="compound_grow", stage_list=[{"fraction": 0.4, "layers": 1}, LISTED[2]])
    with pytest.raises(UserError, match=r"stage_list\[0\]\.layers: the first layer of a modernbert is unlike"):
        method.stages(Run(shape, 4000, seq_len=128, global_batch_size=8))


def test_pools_part_the_tokens_that_a_shorter_length_leaves() -> None:
    pooled = {"name": "compound_grow", "stage_list": [{"fraction": 0.5, "pool": 16}, {"fraction": 0.5}]}
    parts = [pooled, {"name": "short_to_long", "until": [0.5]}]
    with pytest.raises(UserError, match=r"method.divisors: 4 leaves samples of 8 tokens, which pools of 16 do not"):
        Combination(parts=parts).stages(Run(shape("bert", 4), 400, seq_len=32, global_batch_size=8))
