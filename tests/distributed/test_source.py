"""Runs that start from a smaller model, which another run has trained."""

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import yaml
from ranks import pool
from recipes import tiny, write, zero
from runs import events, train, train_with_interruptions, trained

from apollo_ds.__main__ import main
from apollo_ds.checkpoint.saved_state import SavedState
from apollo_ds.config.load import load_resolved, resolve
from apollo_ds.config.ready import check_ready
from apollo_ds.config.recipe import Recipe
from apollo_ds.config.recorded import write_recorded
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.config.source_run import read_source
from apollo_ds.engine.processes import Processes
from apollo_ds.errors import UserError
from apollo_ds.planning.in_words import flops_in_words
from apollo_ds.planning.plan import plan
from apollo_ds.planning.step_flops import step_flops
from apollo_ds.schedule.growable import check_growths

NARROW = {"hidden_size": 16, "num_heads": 1, "intermediate_size": 32}
SOURCE_STEPS, STEPS = 12, 10


def model(family: str, **sizes: int) -> dict[str, Any]:
    return {**tiny(family, "unused").model.model_dump(), **sizes}


@cache
def source(family: str, layers: int = 6) -> Recipe:
    """A run of half the width, trained to its end."""
    recipe = tiny(
        family,
        mkdtemp(prefix="apollo-ds-source-"),
        model=model(family, num_layers=layers, **NARROW),
        method="scratch",
        steps=SOURCE_STEPS,
    )
    pool(2).run(train, recipe)
    return recipe


def from_source(family: str, out: Path, folder: Path, *, name: str = "bert2bert", **changes: Any) -> Recipe:
    """A run from a source; `options` are the method's."""
    method = {"name": name, "source": str(folder), **changes.pop("options", {})}
    return tiny(family, out, **{"method": method, "steps": STEPS, **changes})


@pytest.fixture
def own_source(tmp_path: Path) -> Path:
    """A copy of the source of BERT, to be tampered with."""
    return Path(shutil.copytree(source("bert").out, tmp_path / "source"))


CASES: dict[str, tuple[str, int, str, dict[str, Any], int]] = {
    "AKI": ("bert", 6, "bert2bert", {"prefix_fraction": 0.3}, 1),
    "FPI": ("bert", 6, "bert2bert", {"width": "tiled", "prefix_fraction": 0}, 1),
    "FPI, ZeRO 3": ("gpt2", 6, "bert2bert", {"width": "tiled", "prefix_fraction": 0}, 3),
    "LiGO": ("gpt2", 3, "ligo", {}, 1),
    "Mango": ("bert", 3, "mango", {}, 1),
    "stacking": ("gpt2", 3, "net2net", {"growth_map": "stack", "new_layers": "copy", "width": "tiled"}, 1),
}


@pytest.mark.parametrize("case", CASES)
def test_a_source_grows_before_the_first_step(case: str, tmp_path: Path) -> None:
    family, layers, name, options, stage = CASES[case]
    small = source(family, layers)
    run = from_source(family, tmp_path / "run", small.out, name=name, options=options, deepspeed=zero(stage))
    assert pool(2).run(train, run) == [None, None]

    growth, spent = events(run, "growth")[0], events(small, "end")[0]
    assert (growth["step"], growth["from"], growth["to"]) == (0, layers, 6)
    assert growth["loss_before"] == pytest.approx(spent["loss"], abs=1e-6 if stage == 3 else 0)
    if options.get("width") == "tiled" and layers == 6:
        assert growth["loss_after"] == pytest.approx(growth["loss_before"], abs=1e-5)
    steps = events(run, "step")
    assert [step["step"] for step in steps] == list(range(1, STEPS + 1))
    assert {step["stage"] for step in steps} == set(range(1, len(run.schedule().stages)))

    used, schedule, total = events(run, "end")[0]["flops"], run.schedule(), plan(run)["total"]
    assert used == pytest.approx(sum(step_flops(schedule, schedule.at(step)) for step in range(STEPS)))
    if case != "AKI":  # whose depths are drawn
        assert used == pytest.approx(total["flops"])
    started = events(run, "start")[0]
    assert started["source"] == str(small.out / "checkpoints" / f"step-{SOURCE_STEPS}")
    assert started["source_flops"] == total["source_flops"] == spent["flops"]
    assert read_source(str(run.out), load_resolved).spent.flops == pytest.approx(used + spent["flops"])


def test_a_run_cut_short_goes_on_as_if_it_had_not_been(own_source: Path, tmp_path: Path) -> None:
    options = {"prefix_fraction": 0.4, "moments": "map"}
    whole, cut = (
        from_source("bert", tmp_path / name, own_source, options=options, save_every=3) for name in ("whole", "cut")
    )
    pool(2).run(train, whole)
    # Before its first checkpoint it starts from the source again; later it needs the source no more.
    pool(2).run(train_with_interruptions, cut, [2, 4])
    shutil.rmtree(cut.out / "checkpoints" / f"step-{STEPS}")
    shutil.rmtree(own_source)
    again = from_source("bert", cut.out, own_source, options=options, save_every=3)
    assert again == cut
    pool(2).run(train, again)
    assert trained(cut) == trained(whole)
    counters = json.loads((cut.out / "checkpoints" / f"step-{STEPS}" / "manifest.json").read_text())["counters"]
    assert counters["adam_step"] == SOURCE_STEPS + STEPS


def test_a_source_that_is_gone_before_the_first_checkpoint(own_source: Path, tmp_path: Path) -> None:
    run = from_source("bert", tmp_path / "run", own_source)
    shutil.rmtree(own_source)
    said = pool(2).run(train, run)
    assert said[0] == said[1]
    assert said[0].startswith(f"method.source: {own_source}/checkpoints/step-{SOURCE_STEPS}/manifest.json: missing")


@pytest.mark.parametrize("over", [[], ["short_to_long"]])
def test_a_started_run_keeps_what_it_knows_of_its_source(over: list[str], own_source: Path, tmp_path: Path) -> None:
    method = [{"name": "bert2bert", "source": str(own_source)}, *over]
    run = tiny("bert", tmp_path / "run", method=method, steps=STEPS)
    assert resolve(yaml.safe_load(yaml.safe_dump(run.plain())), "test") == run
    RunFolder(run.out).create(run)
    shutil.rmtree(own_source)
    RunFolder(run.out).check(tiny("bert", run.out, method=method, steps=STEPS))
    with pytest.raises(UserError, match="there is no such run"):
        tiny("bert", tmp_path / "other", method=method, steps=STEPS)


def test_the_plan_counts_the_source_or_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = source("bert")
    run = from_source("bert", tmp_path / "run", small.out)
    main(["plan", write(run, tmp_path / "recipe.yaml")])
    printed = " ".join(capsys.readouterr().out.split())
    total = plan(run)["total"]
    alone, counted = (
        flops / total["scratch_flops"] for flops in (total["flops"], total["flops"] + total["source_flops"])
    )
    spent = events(small, "end")[0]["flops"]
    cost, before = flops_in_words(total["flops"]), f"{flops_in_words(spent)} ({small.out}, step 12 of 12)"
    assert f"{cost}. That is {alone:.1%} of what all 6 layers cost in as many steps." in printed
    assert f"Counting the source's {before}: {counted:.1%} in as many steps." in printed
    assert "as in the source" in printed
    main(["plan", write(tiny("bert", tmp_path / "run"), tmp_path / "recipe.yaml")])
    assert "Counting" not in capsys.readouterr().out


# Mistakes


def test_a_source_that_trains_another_model_as_yet(tmp_path: Path) -> None:
    young = tiny("bert", tmp_path / "young", model=model("bert", **NARROW))
    pool(2).run(train, young, 8)
    with pytest.raises(UserError, match=r"^test recipe: method\.source: .*/step-5 is of stage 1 of 3.*; let the run"):
        from_source("bert", tmp_path / "run", young.out)


def test_a_run_that_is_not_finished_may_be_a_source(own_source: Path, tmp_path: Path) -> None:
    shutil.rmtree(own_source / "checkpoints" / f"step-{SOURCE_STEPS}")
    given = from_source("bert", tmp_path / "run", own_source).schedule().source
    assert str(given) == f"{own_source}, step 10 of {SOURCE_STEPS}"


def break_checkpoints(folder: Path) -> None:
    for file in folder.glob("checkpoints/step-*/rank-00001.safetensors"):
        file.unlink()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (shutil.rmtree, "there is no such run"),
        (lambda folder: (folder / "config.yaml").write_text("{}"), "config.yaml: missing, damaged, or changed"),
        (break_checkpoints, r"has no sound checkpoint \(.*rank-00001.safetensors: missing or damaged"),
        (lambda folder: shutil.rmtree(folder / "checkpoints"), r"has no sound checkpoint \(there is none\)"),
    ],
)
def test_a_folder_that_is_no_source(
    harm: Callable[[Path], object], message: str, own_source: Path, tmp_path: Path
) -> None:
    harm(own_source)
    with pytest.raises(UserError, match=message) as caught:
        from_source("bert", tmp_path / "run", own_source)
    assert str(own_source) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_another_tokenizer(own_source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = yaml.safe_load((own_source / "config.yaml").read_text())
    del config["hash"]
    write_recorded(own_source / "config.yaml", {**config, "tokenizer": "another"})
    with pytest.raises(SystemExit) as caught:
        main(["train", write(from_source("bert", tmp_path / "run", own_source), tmp_path / "recipe.yaml")])
    assert caught.value.code == 2
    line = capsys.readouterr().err
    assert line.startswith(f"apollo-ds: method.source: {own_source} was trained with another tokenizer than ")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"vocab_size": 999}, "the source's vocab_size is .*, and growth keeps it; set model.vocab_size="),
        ({"max_position_embeddings": 64}, "max_position_embeddings is 32, .* set model.max_position_embeddings=32"),
        ({"num_heads": 4}, "heads keep their size 16"),
        ({"intermediate_size": 16}, "intermediate_size must not become narrower, from 32 to 16"),
        ({"num_layers": 3}, "6 layers cannot grow to 3"),
    ],
)
def test_models_that_a_source_cannot_grow_into(sizes: dict[str, int], message: str, tmp_path: Path) -> None:
    small = source("bert").out
    with pytest.raises(UserError, match=rf"^test recipe: method\.source: {small} cannot grow .*{message}"):
        from_source("bert", tmp_path / "run", small, model=model("bert", **sizes))


def test_a_source_of_another_family(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"source's family is bert, .* set model\.family=bert"):
        from_source("gpt2", tmp_path / "run", source("bert").out, name="ligo")


def test_growths_are_checked_before_any_training(tmp_path: Path) -> None:
    recipe = from_source(
        "bert",
        tmp_path / "run",
        source("bert").out,
        options={"width": "block_diagonal"},
        model=model("bert", intermediate_size=96),
    )
    with pytest.raises(UserError, match="block-diagonal growth needs"):
        check_growths(recipe.schedule().stages)


def test_a_source_is_trained_once(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"method\.source_fraction: .* trained already; remove either"):
        from_source("bert", tmp_path / "run", source("bert").out, options={"source_fraction": 0.5})
    with pytest.raises(UserError, match=r"method\.source_fraction: .* unless source names a run"):
        tiny("bert", tmp_path / "run", method={"name": "bert2bert", "source_fraction": 0})


def test_only_the_first_rank_reads_all_of_a_source(own_source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others get its recipe; until then they take the newest checkpoint at its manifest's word."""
    newest = own_source / "checkpoints" / f"step-{SOURCE_STEPS}"
    content = bytearray((newest / "rank-00001.safetensors").read_bytes())
    content[-1] ^= 1
    (newest / "rank-00001.safetensors").write_bytes(content)
    monkeypatch.setenv("WORLD_SIZE", "2")
    chosen = {}
    for rank in ("0", "1"):
        monkeypatch.setenv("RANK", rank)
        chosen[rank] = read_source(str(own_source), load_resolved).checkpoint
    assert [chosen[rank] == newest for rank in ("0", "1")] == [False, True]


def train_where_one_rank_cannot_open(processes: Processes, recipe: Recipe) -> str | None:
    """Train; the second rank finds a file of the source gone after all have looked at it."""

    def gone(state: SavedState) -> None:
        raise UserError(f"{state.folder}: is gone")

    with pytest.MonkeyPatch.context() as patch:
        if processes.rank == 1:
            patch.setattr(SavedState, "hold", gone)
        return train(processes, recipe)


def test_what_one_rank_cannot_open_of_a_source_stops_all(tmp_path: Path) -> None:
    recipe = from_source("bert", tmp_path / "run", source("bert").out)
    told = pool(2).run(train_where_one_rank_cannot_open, recipe)
    assert told[0] == told[1]
    assert str(told[0]).endswith(f"step-{SOURCE_STEPS}: is gone")


def test_another_document_mask_than_the_source_s_is_told(tmp_path: Path) -> None:
    run = from_source("bert", tmp_path / "run", source("bert").out)
    assert check_ready(run, ranks=2) == []
    masked = from_source("bert", tmp_path / "masked", source("bert").out, document_mask=True)
    assert check_ready(masked, ranks=2) == [
        f"method.source: {source('bert').out} was trained with document_mask=false, and this run has true"
    ]
