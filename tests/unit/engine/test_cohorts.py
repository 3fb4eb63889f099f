"""Adam with an age for each cohort, against an Adam of each cohort's own."""

import pytest
import torch
from emulated_gpu import HostWaits, LargestTensor

from apollo_ds.engine import cohorts
from apollo_ds.engine.cohorts import CohortCorrection

OPTIONS = {"lr": 0.01, "betas": (0.9, 0.99), "weight_decay": 0.1}


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("newest_rate", [None, 0.002])
def test_each_cohort_moves_as_under_an_adam_of_its_own_age(fused: bool, newest_rate: float | None) -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(10, generator=generator)
    gradients = torch.randn(60, 10, generator=generator)
    born = 40
    young = torch.tensor([2, 5, 6])

    joint = torch.nn.Parameter(start.clone())
    adam = torch.optim.AdamW([joint], fused=fused, **OPTIONS)
    for gradient in gradients[:born]:
        joint.grad = gradient.clone()
        adam.step()
    for key in ("exp_avg", "exp_avg_sq"):
        adam.state[joint][key][young] = 0
    correction = CohortCorrection((0, born), [joint])
    correction.masks[joint][young] = 1
    if newest_rate is not None:
        adam.param_groups[0]["newest_lr"] = newest_rate
    correction.index()

    alone = torch.nn.Parameter(joint.detach()[young].clone())
    own = torch.optim.AdamW([alone], **{**OPTIONS, "lr": newest_rate or OPTIONS["lr"]})
    control = torch.nn.Parameter(start.clone())
    control_adam = torch.optim.AdamW([control], **OPTIONS)
    for gradient in gradients[:born]:
        control.grad = gradient.clone()
        control_adam.step()

    for gradient in gradients[born:]:
        joint.grad, alone.grad, control.grad = gradient.clone(), gradient[young].clone(), gradient.clone()
        adam.step()
        correction.correct(adam)
        own.step()
        control_adam.step()
        assert torch.allclose(joint.detach()[young], alone.detach(), atol=1e-6)
    old = torch.tensor([i for i in range(10) if i not in young])
    assert torch.allclose(joint.detach()[old], control.detach()[old], atol=1e-6)


def test_without_the_correction_the_first_updates_are_several_times_too_large() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    adam = torch.optim.AdamW([parameter], lr=1.0, betas=(0.9, 0.999), weight_decay=0)
    for _ in range(10):
        parameter.grad = torch.ones(1)
        adam.step()
    state = adam.state[parameter]
    state["step"].fill_(10_000)
    state["exp_avg"].zero_()
    state["exp_avg_sq"].zero_()
    before = float(parameter.detach())
    parameter.grad = torch.ones(1)
    adam.step()
    assert before - float(parameter.detach()) > 3


@pytest.fixture
def halves(monkeypatch: pytest.MonkeyPatch) -> tuple[torch.optim.Optimizer, CohortCorrection]:
    """An Adam after a step, and the correction of the younger elements: the upper half, and each fourth of the rest."""
    monkeypatch.setitem(cohorts.CHUNK, "cpu", 64)
    parameter = torch.nn.Parameter(torch.randn(4096))
    adam = torch.optim.AdamW([parameter], fused=True, **OPTIONS)
    adam.found_inf = torch.zeros(())  # type: ignore[attr-defined]
    parameter.grad = torch.randn(4096)
    adam.step()
    correction = CohortCorrection((0, 1), [parameter])
    correction.masks[parameter][2048:] = 1
    correction.masks[parameter][:2048:4] = 1
    correction.index()
    return adam, correction


def test_the_correction_takes_memory_for_a_chunk_at_most(
    halves: tuple[torch.optim.Optimizer, CohortCorrection],
) -> None:
    adam, correction = halves
    adam.step()
    with LargestTensor() as largest:
        correction.index()
        correction.correct(adam)
    assert largest.elements == 64


def test_the_correction_does_not_make_the_host_wait(halves: tuple[torch.optim.Optimizer, CohortCorrection]) -> None:
    adam, correction = halves
    for step in (1, 2, 999):
        adam.step()
        with HostWaits() as waits:
            correction.begin_step(step, adam)
            correction.correct(adam)
        assert not waits.places


def test_a_step_that_was_skipped_is_not_corrected(halves: tuple[torch.optim.Optimizer, CohortCorrection]) -> None:
    adam, correction = halves
    (parameter,) = adam.param_groups[0]["params"]
    before = parameter.detach().clone()
    adam.found_inf = torch.ones(())  # type: ignore[attr-defined]
    adam.step()
    correction.correct(adam)
    assert torch.equal(parameter.detach(), before)


@pytest.mark.parametrize(
    ("counter", "newest_rate", "joins"),
    [  # 0.99^1833 is below 1e-8; a rate of its own may for a moment be the same
        (1 + 1_833, None, True),
        (1 + 1_832, None, False),
        (1 + 1_833, 0.01, False),
        (1 + 1_833, 0.005, False),
    ],
)
def test_a_cohort_joins_the_first_when_nothing_tells_them_apart(
    counter: int, newest_rate: float | None, joins: bool, halves: tuple[torch.optim.Optimizer, CohortCorrection]
) -> None:
    """At steps that their number alone chooses, so that a run that is resumed does it there too."""
    adam, correction = halves
    (parameter,) = adam.param_groups[0]["params"]
    adam.state[parameter]["step"].fill_(counter)
    adam.param_groups[0]["newest_lr"] = newest_rate
    correction.begin_step(1999, adam)
    assert correction.masks[parameter].any()
    correction.begin_step(2000, adam)
    assert bool(correction.masks[parameter].any()) is not joins
    before = parameter.detach().clone()
    correction.correct(adam)
    assert torch.equal(parameter.detach(), before) is joins


def test_those_as_old_as_the_first_are_left_alone_once_their_rate_is_the_same() -> None:
    parameter = torch.nn.Parameter(torch.randn(64))
    adam = torch.optim.AdamW([parameter], fused=True, **OPTIONS)
    correction = CohortCorrection((0, 0), [parameter])
    correction.masks[parameter][32:] = 1
    correction.index()
    parameter.grad = torch.randn(64)
    adam.step()
    before = parameter.detach().clone()
    adam.param_groups[0]["newest_lr"] = OPTIONS["lr"]
    correction.correct(adam)
    assert torch.equal(parameter.detach(), before)
    adam.param_groups[0]["newest_lr"] = 0.0
    correction.correct(adam)
    assert not torch.equal(parameter.detach()[32:], before[32:])
    assert torch.equal(parameter.detach()[:32], before[:32])
