"""The head's loss in chunks is that of all logits at once, and so are its gradients, in each precision."""

from collections.abc import Iterator
from unittest.mock import patch

import pytest
import torch
import torch.nn.functional as F
from batches import FAMILIES, model_and_batch
from growths import logits
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from apollo_ds.models import loss as loss_module
from apollo_ds.models.loss import IGNORED, LOGITS_AT_ONCE, VOCABULARY_MULTIPLE, summed_cross_entropy

ROWS, HIDDEN, VOCABULARY = 300, 16, 500


def at_once(hidden: Tensor, decoder: nn.Linear, labels: Tensor) -> Tensor:
    return F.cross_entropy(decoder(hidden).float(), labels, ignore_index=IGNORED, reduction="sum")


def case(precision: torch.dtype, bias: bool = True) -> tuple[Tensor, nn.Linear, Tensor]:
    torch.manual_seed(0)
    hidden, decoder = torch.randn(ROWS, HIDDEN), nn.Linear(HIDDEN, VOCABULARY, bias)
    labels = torch.randint(VOCABULARY, (ROWS,))
    labels[::7] = IGNORED
    return hidden.to(precision).requires_grad_(), decoder.to(precision), labels


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rows", [7, 10_000])
def test_a_model_s_loss_and_gradients_are_those_of_all_logits(family: str, rows: int) -> None:
    model, (ids, positions, labels) = model_and_batch(family, samples=20)
    parameters = list(model.parameters())
    with patch.dict(LOGITS_AT_ONCE, cpu=rows * model.shape.vocab_size):
        loss = model(ids, positions, labels)
    assert loss.dtype == torch.float32
    scored = logits(model, ids)[:, : labels.shape[1]]
    expected = F.cross_entropy(scored.flatten(0, 1), labels.flatten(), reduction="sum") / labels.numel()
    assert torch.allclose(loss, expected, rtol=1e-6)
    gradients = [torch.autograd.grad(of, parameters) for of in (loss, expected)]
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-7)


@pytest.fixture(params=["cpu", "cuda", "compiled"])
def way(request: pytest.FixtureRequest) -> Iterator[str]:
    """The way of a device, on the CPU: what it computes is the same there."""
    of_logits = {"cpu": loss_module._OF_LOGITS[request.param]}
    multiple = {"cpu": VOCABULARY_MULTIPLE["cpu" if request.param == "cpu" else "cuda"]}
    in_python = torch.compile(loss_module._slope, backend="aot_eager")
    with (
        patch.dict(loss_module._OF_LOGITS, of_logits),
        patch.dict(VOCABULARY_MULTIPLE, multiple),
        patch.object(loss_module, "_compiled_slope", lambda: in_python),
    ):
        yield request.param


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("precision", "tolerance"),
    [(torch.float64, 1e-9), (torch.float32, 1e-5), (torch.bfloat16, 2e-2), (torch.float16, 3e-3)],
)
def test_loss_and_gradients_of_each_precision(precision: torch.dtype, tolerance: float, bias: bool, way: str) -> None:
    hidden, decoder, labels = case(precision, bias)
    inputs = [hidden, *decoder.parameters()]
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    expected = F.cross_entropy(F.linear(*exact), labels, ignore_index=IGNORED, reduction="sum")
    with patch.dict(LOGITS_AT_ONCE, cpu=64 * VOCABULARY):
        found = summed_cross_entropy(hidden, decoder, labels)
        with torch.no_grad():
            alone = summed_cross_entropy(hidden, decoder, labels)
    assert float(alone) == pytest.approx(float(found.detach()), rel=1e-6)
    assert float(alone) == pytest.approx(float(expected.detach()), rel=tolerance / 10)
    for ours, theirs in zip(
        torch.autograd.grad(found / 8, inputs), torch.autograd.grad(expected / 8, exact), strict=True
    ):
        assert ours.dtype == precision
        assert (ours - theirs).norm() < tolerance * theirs.norm()


@pytest.mark.usefixtures("way")
def test_in_fp16_the_head_s_hooks_run_for_the_forward_and_for_the_backward() -> None:
    decoder, labels = nn.Linear(HIDDEN, 512, dtype=torch.float16), torch.arange(ROWS)
    calls = []
    decoder.register_forward_pre_hook(lambda *_: calls.append(1))
    loss = summed_cross_entropy(torch.randn(ROWS, HIDDEN, dtype=torch.float16, requires_grad=True), decoder, labels)
    assert len(calls) == 1
    loss.backward()
    assert len(calls) == 2


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_losses_of_half_precision_are_added_up_in_fp32(precision: torch.dtype) -> None:
    hidden, decoder = 40 * torch.randn(2000, HIDDEN), nn.Linear(HIDDEN, VOCABULARY)
    labels = torch.arange(2000) % VOCABULARY
    expected = at_once(hidden.to(precision), decoder.to(precision), labels)
    assert expected > 65_504  # more than fp16 holds
    found = summed_cross_entropy(hidden.to(precision), decoder, labels)
    assert found.dtype == torch.float32
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-3)


@pytest.mark.usefixtures("way")
def test_a_chance_that_is_too_small_for_fp32_has_a_finite_loss() -> None:
    decoder = nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        decoder.weight.copy_(torch.tensor([[0.0], [200.0]]))
    loss = summed_cross_entropy(torch.ones(1, 1), decoder, torch.tensor([0]))
    assert float(loss.detach()) == pytest.approx(200.0)


def test_a_gpu_multiplies_by_a_matrix_of_a_size_that_it_is_fast_with(way: str) -> None:
    hidden, decoder, labels = case(torch.float32, bias=False)
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        summed_cross_entropy(hidden, decoder, labels).backward()
    products = [event.input_shapes for event in profiler.events() if event.name in ("aten::mm", "aten::addmm")]
    sizes = {size for shapes in products for shape in shapes for size in shape}
    assert (VOCABULARY in sizes) == (way == "cpu")
    assert (512 in sizes) == (way != "cpu")


def multiplied(hidden: Tensor, decoder: nn.Linear, labels: Tensor) -> int:
    """Matrix products of a loss, in one chunk."""
    with profile(activities=[ProfilerActivity.CPU]) as profiler:
        summed_cross_entropy(hidden, decoder, labels)
    return sum(event.count for event in profiler.key_averages() if event.key in ("aten::mm", "aten::addmm"))


def test_gradients_are_made_where_they_are_wanted() -> None:
    hidden, decoder, labels = case(torch.float32, bias=False)
    assert multiplied(hidden, decoder, labels) == 3
    with torch.no_grad():
        assert multiplied(hidden, decoder, labels) == 1
    decoder.requires_grad_(False)  # frozen, as the head of a model whose embeddings are
    assert multiplied(hidden, decoder, labels) == 2
    summed_cross_entropy(hidden, decoder, labels).backward()
    assert hidden.grad is not None
    assert decoder.weight.grad is None


def test_a_second_backward_is_refused() -> None:
    hidden, decoder, labels = case(torch.float32)
    loss = summed_cross_entropy(hidden, decoder, labels)
    (2 * loss).backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        (2 * loss).backward()
