"""Rebuilding the engine around the same training state changes nothing, at every ZeRO stage and precision."""

from typing import Any

import pytest
import torch
from ranks import pool

from apollo_ds.engine import Engine, Processes
from apollo_ds.growth import Growth
from apollo_ds.layer_map import interpolate
from apollo_ds.model_shape import ModelShape
from apollo_ds.models import FAMILIES, build
from apollo_ds.recipe import Recipe

SEQ_LEN, BATCH = 16, 8


def recipe(family: str, stage: int, precision: str) -> Recipe:
    shape = ModelShape(
        family=family,
        num_layers=6,
        hidden_size=32,
        num_heads=2,
        intermediate_size=64,
        vocab_size=97,
        max_position_embeddings=SEQ_LEN,
    )
    deepspeed = {
        "zero_optimization": {"stage": stage},
        "gradient_clipping": 1.0,
        "zero_allow_untested_optimizer": True,
    }
    if precision != "fp32":
        deepspeed[precision] = {"enabled": True}
    from apollo_ds.methods import METHODS

    return Recipe(
        model=shape,
        method=METHODS["apollo"](),
        data="unused",
        out="unused",
        steps=20,
        seq_len=SEQ_LEN,
        global_batch_size=BATCH,
        micro_batch_size=2,
        learning_rate=1e-2,
        eval_every=10,
        save_every=10,
        deepspeed=deepspeed,
    )


def batches(processes: Processes, engine: Engine, step: int) -> list[tuple[torch.Tensor, ...]]:
    """This rank's micro-batches of random tokens, the same whatever the number of ranks."""
    generator = torch.Generator().manual_seed(step)
    ids = torch.randint(0, 97, (BATCH, SEQ_LEN), generator=generator)
    positions = torch.randint(0, SEQ_LEN, (BATCH, 3), generator=generator)
    labels = ids.gather(1, positions)
    share = BATCH // processes.world_size
    micro = share // engine.accumulation_steps
    mine = slice(processes.rank * share, (processes.rank + 1) * share)
    return list(zip(*(t[mine].split(micro) for t in (ids, positions, labels)), strict=True))


def train(processes: Processes, engine: Engine, steps: range) -> list[float]:
    depths = (3, 6, 4, 5)
    losses = []
    for step in steps:
        result = engine.train_step(
            batches(processes, engine, step), interpolate(3, depths[step % 4]), learning_rate=1e-2
        )
        losses.append(float(processes.sum(result.loss)) / processes.world_size)
        assert float(result.grad_norm) > 0
    return losses


def weights(processes: Processes, engine: Engine) -> dict[str, torch.Tensor]:
    state = engine.capture()
    return {f"{name}/{key}": t for name in state.names() for key, t in state.gather(name, processes.device).items()}


def identity_growth(processes: Processes, family: str, stage: int, precision: str, rebuild: bool) -> Any:
    configuration = recipe(family, stage, precision)
    engine = Engine(build(configuration.model, 3, seed=1), configuration, processes)
    losses = train(processes, engine, range(4))
    if rebuild:
        state = engine.capture()
        engine.close()
        engine = Engine(build(configuration.model, 3, seed=2), configuration, processes)
        engine.restore(state, Growth(interpolate(3, 3), f"model.{FAMILIES[family].blocks}", "map"))
    losses += train(processes, engine, range(4, 14))
    result = weights(processes, engine)
    engine.close()
    return losses, result


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_identity_growth_is_exact(stage: int, precision: str, world_size: int) -> None:
    plain, plain_state = pool(world_size).run(identity_growth, "bert", stage, precision, False)[0]
    rebuilt, rebuilt_state = pool(world_size).run(identity_growth, "bert", stage, precision, True)[0]
    assert plain == rebuilt
    assert plain[-1] < plain[0]
    for name, tensor in plain_state.items():
        assert torch.equal(tensor, rebuilt_state[name]), name
