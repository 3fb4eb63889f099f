"""Finished runs that take more steps, in the same folder."""

from pathlib import Path
from typing import Any

import pytest
from ranks import pool
from recipes import tiny
from runs import WSD, events, files_of, losses, run_of, train

from apollo_ds.config.recipe import Recipe
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.errors import UserError
from apollo_ds.experiments.history import RunHistory

LONGER: dict[str, Any] = {**WSD, "steps": 30, "warmup_fraction": 2 / 30}


def test_a_finished_run_goes_on_from_the_start_of_its_decay(tmp_path: Path) -> None:
    run = run_of(tiny("gpt2", tmp_path / "run", **WSD))
    before = losses(run)
    assert (run.out / "checkpoints" / "step-17").is_dir()  # 16 is the last step at the peak, counted from 0
    planned = run_of(tiny("gpt2", tmp_path / "planned", **LONGER))
    extended = run_of(tiny("gpt2", tmp_path / "run", **LONGER))
    assert files_of(extended, 30) == files_of(planned, 30)
    assert losses(extended) == losses(planned)
    assert losses(extended)[:17] == before[:17]
    ended = RunHistory.read(run.out / "ended-20")
    assert [event["loss"] for event in ended.steps] == before
    assert ended.finished


def test_a_run_with_a_growth_keeps_it_where_it_was(tmp_path: Path) -> None:
    method, moved = ({"name": "sprout", "jump_at": at} for at in (0.4, 8 / 30))
    run_of(tiny("gpt2", tmp_path / "run", **{**WSD, "method": method}))
    planned = run_of(tiny("gpt2", tmp_path / "planned", **{**LONGER, "method": moved}))
    extended = run_of(tiny("gpt2", tmp_path / "run", **{**LONGER, "method": moved}))
    assert files_of(extended, 30) == files_of(planned, 30)
    assert [event["step"] for event in events(extended, "growth")] == [8]


def test_an_extension_that_is_cut_short_goes_on(tmp_path: Path) -> None:
    run_of(tiny("gpt2", tmp_path / "run", **WSD))
    planned = run_of(tiny("gpt2", tmp_path / "planned", **LONGER))
    extended = run_of(tiny("gpt2", tmp_path / "run", **LONGER), stops=(18, 22))
    assert losses(extended) == losses(planned)
    assert files_of(extended, 30) == files_of(planned, 30)


def test_a_run_that_has_not_come_to_its_decay_goes_on_where_it_is(tmp_path: Path) -> None:
    short = tiny("gpt2", tmp_path / "run", **WSD)
    pool(2).run(train, short, 12)
    planned = run_of(tiny("gpt2", tmp_path / "planned", **LONGER))
    extended = run_of(tiny("gpt2", tmp_path / "run", **LONGER))
    assert losses(extended) == losses(planned)
    assert not (extended.out / "ended-20").exists()


REFUSED: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "cosine": ({"lr_schedule": "cosine"}, {"steps": 30}, "with lr_schedule=cosine the learning rate of every step"),
    "warm-up": ({}, {"steps": 30}, "its warm-up took 2 steps, and would take 3; give warmup_fraction=0.06666666666666"),
    "fewer": ({}, {"steps": 10}, "was started with steps 20, not 10; use the same recipe"),
    "other keys": ({}, {**LONGER, "seed": 7}, "was started with seed 42, not 7; use the same recipe"),
    "growth": (
        {"method": {"name": "sprout", "jump_at": 0.2}, "save_every": 20, "keep_checkpoints": 1},
        {**LONGER, "method": {"name": "sprout", "jump_at": 0.2}},
        "the two differ from step 4 on, and no checkpoint up to there is left (there are 17, 20)",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_extended(case: str, tmp_path: Path) -> None:
    before, now, expected = REFUSED[case]
    run = run_of(tiny("gpt2", tmp_path / "run", **{**WSD, **before}))
    recorded = (run.out / "config.yaml").read_bytes()
    longer: Recipe = tiny("gpt2", run.out, **{**WSD, **before, **now})
    for action in (RunFolder(run.out).check, RunFolder(run.out).create):
        with pytest.raises(UserError) as refused:
            action(longer)
        assert expected in str(refused.value)
    assert (run.out / "config.yaml").read_bytes() == recorded
    assert files_of(run, 20)


def test_a_run_from_another_source_is_not_extended(tmp_path: Path) -> None:
    small = [
        run_of(tiny("gpt2", tmp_path / str(seed), seed=seed, **{**WSD, "steps": 2, "method": "scratch"}))
        for seed in (1, 2)
    ]
    model = {**small[0].model.model_dump(), "num_layers": 12}
    first, second = ({"name": "upscale", "source": str(run.out)} for run in small)
    run = run_of(tiny("gpt2", tmp_path / "run", model=model, **{**WSD, "method": first}))
    with pytest.raises(UserError, match=r"steps: method\.source is not what the run in .* started from"):
        RunFolder(run.out).check(tiny("gpt2", run.out, model=model, **{**LONGER, "method": second}))


def test_a_run_that_never_saved_begins_anew(tmp_path: Path) -> None:
    pool(2).run(train, tiny("gpt2", tmp_path / "run", **WSD), 3)
    planned = run_of(tiny("gpt2", tmp_path / "planned", **LONGER))
    extended = run_of(tiny("gpt2", tmp_path / "run", **LONGER))
    assert losses(extended) == losses(planned)
