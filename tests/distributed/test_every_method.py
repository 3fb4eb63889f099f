"""Every method, trained end to end on real text by two ranks, and cut short in one of its stages."""

from pathlib import Path

import pytest
import torch
from every_method import CASES, middles, small_run
from ranks import pool
from recipes import zero
from runs import events, losses, train, train_with_interruptions, trained

SHARDED = ("mslt", "mango", "compound_grow,rank")
"""Those that freeze layers, learn a growth or hold factors: each in another way where weights are sharded."""


@pytest.mark.parametrize("method", CASES)
def test_a_method_trains_through_its_stages_and_resumes(method: str, tmp_path: Path) -> None:
    whole, cut = (small_run(method, tmp_path / name) for name in ("whole", "cut"))
    pool(2).run(train, whole)
    done, stages = events(whole, "step"), middles(whole)
    stop = stages[len(stages) // 2]
    assert [event["step"] for event in done] == list(range(1, 25))
    planned = whole.schedule().stages
    assert {event["stage"] for event in done} == {number for number, stage in enumerate(planned) if stage.steps}
    assert events(whole, "eval")[-1]["loss"] < events(whole, "eval")[0]["loss"]

    pool(2).run(train_with_interruptions, cut, [stop])
    assert trained(cut) == trained(whole)
    if method in SHARDED:
        sharded = small_run(method, tmp_path / "sharded", deepspeed=zero(3))
        pool(2).run(train_with_interruptions, sharded, stages[-1:])
        assert torch.allclose(torch.tensor(losses(sharded)), torch.tensor(losses(whole)), atol=1e-4, rtol=0)
