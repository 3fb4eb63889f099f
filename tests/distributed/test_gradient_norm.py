"""The norm and clipping of gradients on real ranks, against fp64."""

import pytest
import torch
from ranks import pool
from recipes import tiny, zero
from small_models import build

from apollo_ds.config.recipe import Recipe
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.processes import Processes
from apollo_ds.models.pretraining import skeleton


def norms(processes: Processes, recipe: Recipe) -> tuple[float, float]:
    """The norm of a step's gradients as the engine has it, and of the same gradients summed over ranks in fp64."""
    model = build(recipe.model, 6, seed=1)
    random = torch.Generator().manual_seed(processes.rank)
    ids = torch.randint(recipe.model.vocab_size, (4, 32), generator=random)
    batch = (ids, torch.arange(32).expand(4, 32), ids)
    model(*batch).backward()
    gradients = torch.cat([p.grad.double().flatten() for p in model.parameters() if p.grad is not None])
    expected = float((processes.sum(gradients) / processes.world_size).norm())
    engine = Engine(skeleton(recipe.model, 6), recipe.engine_options(processes.world_size), processes, seed=1)
    found = float(engine.train_step([batch], [recipe.schedule().at(recipe.steps - 1)]).grad_norm)
    engine.close()
    return found, expected


@pytest.mark.parametrize("stage", range(4))
def test_the_norm_is_that_of_the_ranks_mean_gradient(stage: int) -> None:
    for found, expected in pool(2).run(norms, tiny("gpt2", "unused", deepspeed=zero(stage))):
        assert found == pytest.approx(expected, rel=1e-5)


def first_moment(processes: Processes, recipe: Recipe) -> tuple[float, float]:
    """Norms of a first step's gradient, as the engine has it, and of Adam's first moment after it."""
    engine = Engine(skeleton(recipe.model, 6), recipe.engine_options(processes.world_size), processes, seed=1)
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
