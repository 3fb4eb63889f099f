"""The norm and clipping that stand in for DeepSpeed's, against its own and against fp64."""

import math
from types import SimpleNamespace

import pytest
import torch
from deepspeed.runtime.zero.stage_1_and_2 import DeepSpeedZeroOptimizer
from hypothesis import given
from hypothesis import strategies as st
from ranks import pool
from recipes import tiny, zero

from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.gradient_norm import _unscale_and_clip, sum_of_squares
from apollo_ds.engine.processes import Processes
from apollo_ds.models.pretraining import build


@given(st.lists(st.integers(1, 9000), min_size=1, max_size=6), st.integers(0, 1000))
def test_squares_of_any_shapes_add_up(sizes: list[int], seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    tensors = [torch.randn(size, generator=random) * 10.0**place for place, size in enumerate(sizes, start=-3)]
    expected = sum(float(tensor.double().square().sum()) for tensor in tensors)
    assert float(sum_of_squares(tensors)) == pytest.approx(expected, rel=1e-6)


def test_millions_of_elements_keep_their_digits() -> None:
    tensor = torch.randn(30_522, 256, generator=torch.Generator().manual_seed(0))
    assert float(sum_of_squares([tensor])) == pytest.approx(float(tensor.double().square().sum()), rel=1e-7)


@pytest.mark.parametrize("norm", [0.5, 3.0, 1e4, -1.0, math.inf])
@pytest.mark.parametrize("loss_scale", [1.0, 1024.0])
@pytest.mark.parametrize("clip_grad", [0.0, 1.0])
def test_clipping_is_deepspeed_s(norm: float, loss_scale: float, clip_grad: float) -> None:
    optimizer = SimpleNamespace(clip_grad=clip_grad, loss_scale=loss_scale, device=torch.device("cpu"))
    ours, theirs = (torch.arange(5.0) for _ in range(2))
    _unscale_and_clip(optimizer, [ours], torch.tensor(norm))
    DeepSpeedZeroOptimizer.unscale_and_clip_grads(optimizer, [theirs], torch.tensor(norm))
    assert torch.allclose(ours, theirs, rtol=1e-6)


def norms(processes: Processes, recipe: Recipe) -> tuple[float, float]:
    """The norm of a step's gradients as the engine has it, and of the same gradients summed over ranks in fp64."""
    model = build(recipe.model, 6, seed=1)
    random = torch.Generator().manual_seed(processes.rank)
    ids = torch.randint(recipe.model.vocab_size, (4, 32), generator=random)
    batch = (ids, torch.arange(32).expand(4, 32), ids)
    model(*batch).backward()
    gradients = torch.cat([p.grad.double().flatten() for p in model.parameters() if p.grad is not None])
    expected = float((processes.sum(gradients) / processes.world_size).norm())
    engine = Engine(build(recipe.model, 6, seed=1), recipe, processes)
    found = float(engine.train_step([batch], [recipe.schedule().at(recipe.steps - 1)]).grad_norm)
    engine.close()
    return found, expected


@pytest.mark.parametrize("stage", range(4))
def test_the_norm_is_that_of_the_ranks_mean_gradient(stage: int) -> None:
    for found, expected in pool(2).run(norms, tiny("gpt2", "unused", deepspeed=zero(stage))):
        assert found == pytest.approx(expected, rel=1e-5)


def first_moment(processes: Processes, recipe: Recipe) -> tuple[float, float]:
    """Norms of a first step's gradient, as the engine has it, and of Adam's first moment after it."""
    engine = Engine(build(recipe.model, 6, seed=1), recipe, processes)
    random = torch.Generator().manual_seed(processes.rank)
    ids = torch.randint(recipe.model.vocab_size, (4, 32), generator=random)
    batch = (ids, torch.arange(32).expand(4, 32), ids)
    norm = float(engine.train_step([batch], [recipe.schedule().at(recipe.steps - 1)]).grad_norm)
    slices = engine.capture().slices.values()
    squares = torch.stack([part.tensors["exp_avg"].double().square().sum() for part in slices]).sum()
    engine.close()
    return norm, float(processes.sum(squares).sqrt())


@pytest.mark.parametrize(("ranks", "stage"), [(1, 0), (2, 0), (2, 1), (2, 3)])
def test_adam_sees_gradients_clipped_once(ranks: int, stage: int) -> None:
    clipping = 0.25
    recipe = tiny("gpt2", "unused", deepspeed={**zero(stage), "gradient_clipping": clipping})
    for norm, moment in pool(ranks).run(first_moment, recipe):
        assert norm > 2 * clipping
        assert moment == pytest.approx((1 - recipe.adam_betas[0]) * clipping, rel=1e-4)
