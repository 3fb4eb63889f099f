"""Runs from a source whose width does not divide the model's."""

from pathlib import Path

import pytest
from ranks import pool
from recipes import tiny, zero
from runs import events, train

from apollo_ds.planning.effect import effect_of_growth

SOURCE_STEPS, STEPS = 12, 6


@pytest.mark.parametrize(("family", "stage"), [("gpt2", 3), ("llama", 1)])
def test_a_growth_by_half_keeps_the_held_out_loss(family: str, stage: int, tmp_path: Path) -> None:
    small = tiny(family, tmp_path / "source", method="scratch", steps=SOURCE_STEPS)
    pool(2).run(train, small)
    wider = {"hidden_size": 48, "num_heads": 3, "intermediate_size": 96}
    run = tiny(
        family,
        tmp_path / "run",
        model={**small.model.model_dump(exclude={"num_key_value_heads"}), **wider, "norm_epsilon": 6.666667e-6},
        method={
            "name": "bert2bert",
            "source": str(small.out),
            "width": "averaged",
            "moments": "map_scaled",
            "prefix_fraction": 0,
        },
        steps=STEPS,
        deepspeed=zero(stage),
    )
    assert effect_of_growth(run.schedule().stages, 1) == "unchanged"
    assert pool(2).run(train, run) == [None, None]
    growth = events(run, "growth")[0]
    assert growth["loss_after"] == pytest.approx(growth["loss_before"], abs=1e-5)
    steps = events(run, "step")
    assert [step["step"] for step in steps] == list(range(1, STEPS + 1))
    assert steps[-1]["loss"] < growth["loss_before"] + 0.1
