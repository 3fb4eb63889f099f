"""Newton-Schulz iterations against singular values, and against DeepSpeed's own."""

import pytest
import torch
from deepspeed.runtime.zero.muon import original_muon
from torch import Tensor

from apollo_ds.engine.orthogonal import all_orthogonalised, chunked, orthogonalised, update_size


def drawn(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("shape", [(16, 16), (16, 48), (48, 16)])
@pytest.mark.parametrize("size", [1e-35, 1e-27, 1e-12, 1.0, 1e12, 1e30])
def test_singular_values_come_near_one_whatever_the_size(shape: tuple[int, int], size: float) -> None:
    x = drawn(*shape)
    result = orthogonalised(size * x[None], 5, torch.float32)[0]
    assert result.shape == x.shape
    values = torch.linalg.svdvals(result)
    assert values.min() > 0.3
    assert values.max() < 1.3
    u, _, v = torch.linalg.svd(x, full_matrices=False)
    assert torch.nn.functional.cosine_similarity(result.flatten(), (u @ v).flatten(), dim=0) > 0.95


def test_zeros_stay_zeros() -> None:
    assert not orthogonalised(torch.zeros(2, 4, 8), 5, torch.float32).any()


def test_matrices_of_all_shapes_are_as_each_alone() -> None:
    matrices = [drawn(8, 4), drawn(4, 8), drawn(8, 8), drawn(4, 8) * 3]
    for matrix, result in zip(matrices, all_orthogonalised(matrices, 5, torch.float32), strict=True):
        assert torch.allclose(result, orthogonalised(matrix[None], 5, torch.float32)[0], atol=1e-5)


@pytest.mark.parametrize("shape", [(32, 32), (16, 64), (64, 16)])
def test_an_update_is_deepspeeds(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(original_muon, "ns_compute_dtype", lambda *_: torch.float32)
    with torch.compiler.set_stance("force_eager"):
        theirs = original_muon.muon_update(drawn(*shape), torch.zeros(shape), ns_method="standard")
    gradient, momentum = drawn(*shape), torch.zeros(shape)
    momentum.lerp_(gradient, 0.05)
    ours = orthogonalised(gradient.lerp(momentum, 0.95)[None], 5, torch.float32)[0] * update_size(*shape, "spectral")
    assert torch.allclose(ours, theirs, atol=1e-5)


def test_an_update_has_the_size_of_adamws() -> None:
    for shape in ((64, 64), (64, 256), (256, 64)):
        update = orthogonalised(drawn(*shape)[None], 5, torch.float32)[0] * update_size(*shape, "match_adamw")
        assert float(update.square().mean().sqrt()) == pytest.approx(0.2, rel=0.25)


def test_chunks_are_neighbours_within_the_limit() -> None:
    sizes = [3, 3, 3, 10, 1, 1]
    assert [sizes[part] for part in chunked(sizes, 6)] == [[3, 3], [3], [10], [1, 1]]
    assert list(chunked([], 6)) == []
