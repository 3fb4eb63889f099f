"""How far two plans agree, and what becomes of a run that goes on under a longer one."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from apollo_ds.models.families import FAMILIES
from apollo_ds.schedule.agreement import resumed, steps_alike, would_last_longer
from apollo_ds.schedule.layer_drop import LayerDrop
from apollo_ds.schedule.learning_rate import LearningRate, Policy
from apollo_ds.schedule.schedule import Schedule
from apollo_ds.schedule.stage import GrowthRule, Stage
from apollo_ds.schedule.triggers import SlopeFlatterThan

SHAPE = FAMILIES["gpt2"].shape_class(
    family="gpt2", num_layers=4, hidden_size=8, num_heads=1, intermediate_size=8, vocab_size=31
)


@dataclass(frozen=True)
class Later(LayerDrop):
    """Skips all but the first layer from the middle of the run on."""

    def keep(self, position: int, depth: int, progress: float) -> float:
        return float(position == 0 or progress < 0.5)


def schedule(*steps: int, policy: Policy = "wsd", warmup: int = 4, decay: float = 0.25, seed: int = 1) -> Schedule:
    """Stages of 1, 2, ... layers."""
    stages = tuple(Stage("test", count, SHAPE, number + 1, 8) for number, count in enumerate(steps))
    rate = LearningRate(policy, 1.0, warmup_fraction=warmup / sum(steps), decay_fraction=decay)
    return Schedule(stages, 2, rate, seed)


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (schedule(40), schedule(80), 31),  # the rate is 1 at step 30, of which a quarter of the way is left
        (schedule(40), schedule(44), 31),
        (schedule(40), schedule(44, decay=0.5), 23),
        (schedule(40), schedule(80, warmup=8), 0),
        (schedule(40, policy="cosine"), schedule(80, policy="cosine"), 5),
        (schedule(40, policy="constant"), schedule(80, policy="constant"), 40),
        (schedule(10, 30), schedule(10, 70), 31),
        (schedule(10, 30), schedule(20, 60), 10),
        (schedule(40), schedule(80, seed=2), 31),  # no depth is drawn
    ],
)
def test_the_first_steps_that_two_plans_share(one: Schedule, other: Schedule, expected: int) -> None:
    assert steps_alike(one, other, 1000) == steps_alike(other, one, 1000) == expected
    assert steps_alike(one, other, 3) == min(3, expected)


def test_what_depends_on_the_number_of_steps_is_seen() -> None:
    dropping = [
        replace(plan, stages=(replace(plan.stages[0], unique_layers=4, layer_drop=Later(rescaled=False)),))
        for plan in (schedule(40, policy="constant"), schedule(80, policy="constant"))
    ]
    assert steps_alike(*dropping, 40) == 20


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ({"rewarm_to": 1.3}, 40),  # of no warm-up
        ({"rewarm": "new", "rewarm_to": 1.3}, 10),
        ({"rewarm": "new", "rewarm_to": 1.0}, 10),  # it is another cohort all the same
        ({"rewarm": "all", "rewarm_from": 0.5, "rewarm_to": 0.9}, 10),
    ],
    ids=str,
)
def test_a_warm_up_that_ends_elsewhere_is_another_plan(rule: dict[str, Any], expected: int) -> None:
    plain = schedule(10, 30, policy="constant")
    warmed = replace(plain, stages=(plain.stages[0], replace(plain.stages[1], growth=GrowthRule(**rule))))
    assert steps_alike(plain, warmed, 40) == expected


def test_a_stage_that_ended_early_did_so_under_a_longer_plan_too() -> None:
    trigger = SlopeFlatterThan(-0.1)
    short, long = (
        replace(plan, stages=(replace(plan.stages[0], ends=trigger), plan.stages[1]))
        for plan in (schedule(20, 20), schedule(40, 40))
    )
    assert resumed(short, 12, [12, 28]).stage_steps == [12, 28]
    assert resumed(long, 12, [12, 28]).stage_steps == [12, 68]
    assert resumed(long, 10, [20, 20]).stage_steps == [40, 40]
    assert would_last_longer(short, long, 20, [20, 20])
    assert not would_last_longer(short, long, 19, [20, 20])
    assert not would_last_longer(short, long, 12, [12, 28])
    assert not would_last_longer(short, short, 20, [20, 20])
