"""The norm and clipping that stand in for DeepSpeed's, against its own and against fp64."""

import math
from types import SimpleNamespace

import pytest
import torch
from deepspeed.runtime.zero.stage_1_and_2 import DeepSpeedZeroOptimizer
from hypothesis import given
from hypothesis import strategies as st

from apollo_ds.engine.gradient_norm import _unscale_and_clip, sum_of_squares


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
