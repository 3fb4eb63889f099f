"""Every method, cut short in each of its stages; under ZeRO 3 too, saved after each step."""

from pathlib import Path

import pytest
import torch
from every_method import CASES, middles, small_run
from ranks import pool
from recipes import zero
from runs import events, losses, train, train_with_interruptions, trained


@pytest.mark.parametrize("method", CASES)
def test_a_method_resumes_in_each_stage(method: str, tmp_path: Path) -> None:
    whole = small_run(method, tmp_path / "whole")
    pool(2).run(train, whole)
    stops = middles(whole)
    cut = small_run(method, tmp_path / "cut")
    pool(2).run(train_with_interruptions, cut, stops)
    assert trained(cut) == trained(whole)
    sharded = small_run(method, tmp_path / "sharded", save_every=1, deepspeed=zero(3))
    pool(2).run(train_with_interruptions, sharded, stops)
    # The step in which it dies has not been saved yet.
    assert [event["step"] for event in events(sharded, "resume")] == [stop - 1 for stop in stops]
    assert torch.allclose(torch.tensor(losses(sharded)), torch.tensor(losses(whole)), atol=1e-4, rtol=0)
