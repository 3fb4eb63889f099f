"""Runs that go on from a step of another run."""

import json
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from corpora import corpus
from recipes import tiny, write, zero
from runs import WSD, events, files_of, losses, run_of

from apollo_ds.__main__ import main
from apollo_ds.config.ready import check_ready
from apollo_ds.config.recipe import Recipe
from apollo_ds.errors import UserError
from apollo_ds.experiments.history import RunHistory
from apollo_ds.planning.plan import plan

STEPS = 20


@cache
def parent(family: str = "gpt2", **changes: Any) -> Recipe:
    """A run with a decay, saved often."""
    return run_of(tiny(family, mkdtemp(prefix="apollo-ds-parent-"), **{**WSD, "save_every": 2, "keep_every": 2}))


@pytest.mark.parametrize("stage", [1, 3])
def test_a_branch_is_the_run_that_was_planned_so(stage: int, tmp_path: Path) -> None:
    """A decay from the middle of a run with a level learning rate."""
    shorter = {**WSD, "steps": 12, "warmup_fraction": 2 / 12, "decay_fraction": 0.25, "deepspeed": zero(stage)}
    if stage == 3:
        trunk = run_of(
            tiny("gpt2", tmp_path / "trunk", **{**WSD, "deepspeed": zero(3), "save_every": 8, "keep_every": 8})
        )
    else:
        trunk = parent()
    planned = run_of(tiny("gpt2", tmp_path / "planned", **shorter))
    branch = run_of(tiny("gpt2", tmp_path / "branch", branch_from=f"{trunk.out}@8", **shorter))
    assert files_of(branch, 12) == files_of(planned, 12)
    assert losses(branch) == losses(planned)
    assert [event["loss"] for event in events(branch, "eval")][-1] == events(planned, "eval")[-1]["loss"]
    assert events(branch, "end")[0]["flops"] == events(planned, "end")[0]["flops"]


def test_a_branch_before_a_growth_grows_when_its_own_plan_says(tmp_path: Path) -> None:
    method = {"name": "sprout", "jump_at": 0.8}
    trunk = run_of(tiny("gpt2", tmp_path / "trunk", **{**WSD, "method": method, "save_every": 4, "keep_every": 4}))
    shorter = {**WSD, "method": method, "steps": 10, "warmup_fraction": 0.2}
    planned = run_of(tiny("gpt2", tmp_path / "planned", **shorter))
    branch = run_of(tiny("gpt2", tmp_path / "branch", branch_from=f"{trunk.out}@4", **shorter))
    assert [(event["step"], event["from"], event["to"]) for event in events(branch, "growth")] == [(8, 2, 6)]
    assert files_of(branch, 10) == files_of(planned, 10)


def test_a_branch_grows_at_once_where_its_plan_has_a_larger_model(tmp_path: Path) -> None:
    """Another method for the rest: the layers of the full model come early, and training goes on with all of them."""
    method = {"name": "sprout", "jump_at": 0.8}
    trunk = run_of(tiny("gpt2", tmp_path / "trunk", **{**WSD, "method": method, "save_every": 4, "keep_every": 4}))
    early = {"name": "sprout", "jump_at": 0.4}
    planned = run_of(tiny("gpt2", tmp_path / "planned", **{**WSD, "method": early}))
    branch = run_of(tiny("gpt2", tmp_path / "branch", branch_from=f"{trunk.out}@8", **{**WSD, "method": early}))
    assert files_of(branch, STEPS) == files_of(planned, STEPS)
    late = run_of(tiny("gpt2", tmp_path / "late", branch_from=f"{trunk.out}@8", **{**WSD, "method": "scratch"}))
    assert [(event["step"], event["from"], event["to"]) for event in events(late, "growth")] == [(8, 2, 6)]
    with pytest.raises(UserError, match=r"branch_from: .* has 6 layers of 32 units, and this recipe plans 2 of 32"):
        tiny("gpt2", tmp_path / "back", branch_from=f"{trunk.out}@20", **{**WSD, "method": method, "steps": 40})


def test_a_branch_cut_short_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    trunk = Path(shutil.copytree(parent().out, tmp_path / "trunk"))
    options = {**WSD, "steps": 16, "save_every": 4, "branch_from": f"{trunk}@6"}
    whole = run_of(tiny("gpt2", tmp_path / "whole", **options))
    # Before its first checkpoint it starts from the other run again; later it needs that no more.
    cut = run_of(tiny("gpt2", tmp_path / "cut", **options), stops=(7, 10))
    assert losses(cut) == losses(whole)
    assert files_of(cut, 16) == files_of(whole, 16)
    shutil.rmtree(cut.out / "checkpoints" / "step-16")
    shutil.rmtree(trunk)
    again = run_of(tiny("gpt2", cut.out, **{**options, "branch_from": f"{trunk}/@06"}))  # however it is spelled
    assert again == cut
    assert files_of(again, 16) == files_of(whole, 16)


def test_another_text_is_read_from_its_beginning(tmp_path: Path) -> None:
    trunk, other = parent(), tmp_path / "text"
    shutil.copytree(corpus("gpt2").folder, other)
    same = tiny("gpt2", tmp_path / "same", branch_from=f"{trunk.out}@8", data=str(other), **WSD)
    assert losses(run_of(same))[8:] == losses(trunk)[8:]
    seeded = run_of(tiny("gpt2", tmp_path / "seeded", branch_from=f"{trunk.out}@8", seed=7, **WSD))
    assert losses(seeded)[:8] == losses(trunk)[:8]
    assert losses(seeded)[8:] != losses(trunk)[8:]
    manifest = json.loads((seeded.out / "checkpoints" / "step-20" / "manifest.json").read_text())
    assert manifest["memory"]["skipped_tokens"] == -8 * seeded.global_batch_size * seeded.seq_len


def test_a_branch_of_a_branch_counts_what_was_spent_once(tmp_path: Path) -> None:
    trunk = parent()
    first = run_of(tiny("gpt2", tmp_path / "first", branch_from=f"{trunk.out}@8", **WSD))
    second = run_of(tiny("gpt2", tmp_path / "second", branch_from=f"{first.out}@20", **{**WSD, "steps": 24}))
    started = events(second, "branch")
    assert [event["step"] for event in started] == [8, 20]
    assert started[1]["shared_flops"] == events(first, "end")[0]["flops"] == events(trunk, "end")[0]["flops"]
    total = plan(second)["total"]
    assert total["steps"] == 4
    assert events(second, "end")[0]["flops"] == pytest.approx(total["flops"] + total["source_flops"])
    history = RunHistory.read(second.out)
    assert [point.step for point in history.curve] == [10, 20, 24]


REFUSED = {
    "no step": ("{trunk}", {}, "names no step; write RUN@STEP"),
    "no such step": ("{trunk}@7", {}, "has no checkpoint of step 7; use one of 2, 4"),
    "no run": ("{trunk}/checkpoints@4", {}, "checkpoints: is a part of the run"),
    "at the end": ("{trunk}@12", {"steps": 12}, "is not before the end of this recipe's 12 steps"),
    "wider": ("{trunk}@4", {"model.hidden_size": 16, "model.num_heads": 1}, "plans 6 of 16 there"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_branched_from(case: str, tmp_path: Path) -> None:
    text, changes, expected = REFUSED[case]
    sizes = {key.removeprefix("model."): value for key, value in changes.items() if key.startswith("model.")}
    rest = {key: value for key, value in changes.items() if not key.startswith("model.")}
    model = {**parent().model.model_dump(), **sizes}
    with pytest.raises(UserError, match="branch_from: ") as refused:
        tiny("gpt2", tmp_path / "run", branch_from=text.format(trunk=parent().out), model=model, **{**WSD, **rest})
    assert expected in str(refused.value)


def test_a_damaged_checkpoint_is_not_branched_from(tmp_path: Path) -> None:
    trunk = Path(shutil.copytree(parent().out, tmp_path / "trunk"))
    (trunk / "checkpoints" / "step-8" / "rank-00001.safetensors").write_bytes(b"none")
    with pytest.raises(UserError, match=r"branch_from: .*missing or damaged; use another step's"):
        tiny("gpt2", tmp_path / "run", branch_from=f"{trunk}@8", **WSD)


def test_a_branch_records_its_own_steps_where_the_other_record_is_gone(tmp_path: Path) -> None:
    trunk = Path(shutil.copytree(parent().out, tmp_path / "trunk"))
    (trunk / "metrics.jsonl").unlink()
    branch = run_of(tiny("gpt2", tmp_path / "run", branch_from=f"{trunk}@8", **WSD))
    assert [event["step"] for event in events(branch, "step")] == list(range(9, STEPS + 1))
    assert losses(branch) == losses(parent())[8:]


def test_a_jump_of_the_learning_rate_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    level = tiny("gpt2", tmp_path / "level", branch_from=f"{parent().out}@8", **WSD)
    assert check_ready(level, ranks=2) == []
    again = tiny("gpt2", tmp_path / "again", branch_from=f"{parent().out}@20", **{**WSD, "steps": 40})
    told = "branch_from: the learning rate goes from 0.00075 to 0.003 at step 20"
    assert check_ready(again, ranks=2) == [told]
    main(["plan", write(again, tmp_path / "again.yaml")])
    assert told in capsys.readouterr().err
