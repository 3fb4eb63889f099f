"""Runs from a source whose width does not divide the model's."""

from pathlib import Path
from typing import Any

import pytest
from ranks import pool
from recipes import tiny, zero
from runs import events, train

from apollo_ds.planning.effect import effect_of_growth

SOURCE_STEPS, STEPS = 12, 6


def sizes(family: str, hidden: int, epsilon: float) -> dict[str, Any]:
    """Of a model with heads of 8 units, two of which share keys and values where the family has such groups."""
    own = tiny(family, "unused").model.model_dump()
    grouped = {"num_key_value_heads": hidden // 16} if "num_key_value_heads" in own else {}
    wide = {"hidden_size": hidden, "num_heads": hidden // 8, "intermediate_size": 2 * hidden}
    return {**own, **wide, **grouped, "norm_epsilon": epsilon}


@pytest.mark.parametrize(("family", "stage"), [("gpt2", 3), ("llama", 1)])
def test_a_growth_by_half_keeps_the_held_out_loss(family: str, stage: int, tmp_path: Path) -> None:
    small = tiny(
        family, tmp_path / "source", model=sizes(family, 32, epsilon=1e-2), method="scratch", steps=SOURCE_STEPS
    )
    pool(2).run(train, small)
    run = tiny(
        family,
        tmp_path / "run",
        model=sizes(family, 48, epsilon=6.666667e-3),
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
