"""Which runs are one recipe, and what a recipe is called."""

from collections.abc import Sequence
from pathlib import Path

import pytest
from comparisons import SCRATCH, page
from histories import rows, write_run

from apollo_ds.config.recipe import Recipe
from apollo_ds.experiments.compare.comparison import Comparison
from apollo_ds.experiments.compare.groups import group_runs
from apollo_ds.experiments.history import RunHistory


def names_of(folders: Sequence[Path]) -> list[str]:
    return [group.name for group in group_runs([RunHistory.read(folder) for folder in folders])]


def test_a_run_from_before_a_size_had_a_name_is_of_the_same_recipe(tmp_path: Path) -> None:
    model = {"family": "gpt2", "num_layers": 6, "hidden_size": 32, "vocab_size": 300, "dropout": 0.0}
    runs = [write_run(tmp_path / "s1", SCRATCH, seed=1, model=model)]
    runs.append(write_run(tmp_path / "s2", SCRATCH, seed=2, model={**model, "initializer_range": 0.02}))
    runs.append(write_run(tmp_path / "s3", SCRATCH, seed=3, model={**model, "initializer_range": 0.1}))
    assert [group.name for group in Comparison.of(runs).groups] == [
        "scratch,model.initializer_range=0.02",
        "scratch,model.initializer_range=0.1",
    ]


def test_a_run_from_before_an_option_had_a_name_is_of_the_same_recipe(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "a1", SCRATCH, "apollo", seed=1)]
    now = {"name": "apollo", "deep_end": 0.0, "noise": 0.0}
    runs.append(write_run(tmp_path / "a2", SCRATCH, now, seed=2, zero_by_stage=False))
    runs.append(write_run(tmp_path / "a3", SCRATCH, {**now, "noise": 0.5}, seed=3))
    assert [group.name for group in Comparison.of(runs).groups] == [
        "apollo,noise=0.0",
        "apollo,noise=0.5",
    ]


def test_recipes_of_one_method_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / f"s{rate}", SCRATCH, learning_rate=rate) for rate in (0.001, 0.002)]
    options = ({"name": "apollo", "sampler": "es"}, {"name": "apollo", "sampler": "us"})
    runs += [write_run(tmp_path / f"a{n}", SCRATCH, option) for n, option in enumerate(options)]
    text = page(runs)
    names = [found["recipe"] for found in rows(text, "final held-out loss")]
    assert names[:2] == ["scratch,learning_rate=0.001", "scratch,learning_rate=0.002"]
    assert names[2:] == ["apollo,sampler=es", "apollo,sampler=us"]
    assert list(rows(text, "key")[0].values()) == ["`learning_rate`", "0.001", "0.002", "0.001", "0.001"]


def test_texts_name_a_recipe_only_where_nothing_else_tells_it_from_another(tmp_path: Path) -> None:
    here, there = {"data/wiki": 0.7, "folder": 0.3}, {"/shared/wiki": 0.7, "/shared/folder": 0.3}
    runs = [write_run(tmp_path / "a", SCRATCH, data=here), write_run(tmp_path / "b", SCRATCH, data=there, steps=7)]
    names = [group.name for group in Comparison.of(runs).groups]
    assert [name.split("=")[0] for name in names] == ["scratch,steps"] * 2
    runs.append(write_run(tmp_path / "c", SCRATCH, data=there))
    names = [group.name for group in Comparison.of(runs).groups]
    assert len(set(names)) == 3 and "/shared/folder" in names[2]


def test_two_recipes_never_have_one_name(tmp_path: Path) -> None:
    rates = (0.001, 0.0010000001)
    near = [write_run(tmp_path / f"{rate}", SCRATCH, learning_rate=rate) for rate in rates]
    assert names_of(near) == [f"scratch,learning_rate={rate}" for rate in rates]
    parts = (1, 2)
    alike = [write_run(tmp_path / f"e{n}", SCRATCH, micro_batch_size=n) for n in parts]
    assert names_of(alike) == ["scratch,micro_batch_size=1", "scratch,micro_batch_size=2"]
    thirds = [write_run(tmp_path / f"w{n}", SCRATCH, warmup_fraction=n / 3, micro_batch_size=n) for n in parts]
    assert names_of(thirds) == ["scratch,warmup_fraction=0.333333", "scratch,warmup_fraction=0.666667"]


def test_how_a_run_is_watched_and_kept_makes_no_other_recipe(tmp_path: Path) -> None:
    watched = dict.fromkeys(Recipe.beside_training() - {"out", "verify", "held_out"}, 5)
    runs = [write_run(tmp_path / "a", SCRATCH, seed=1), write_run(tmp_path / "b", SCRATCH, seed=2, **watched)]
    assert {"eval_every", "save_every", "log_every", "keep_checkpoints"} < watched.keys()
    assert names_of(runs) == ["scratch"]


def test_one_text_in_two_folders_makes_no_other_recipe(tmp_path: Path) -> None:
    text = {"train": "3d"}
    runs = [write_run(tmp_path / f"{n}", SCRATCH, seed=n, data=f"data/{n}", config=text) for n in (1, 2)]
    assert names_of(runs) == ["scratch"]


def test_a_folder_is_named_where_no_key_tells_two_recipes_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    runs = [write_run(Path(name), SCRATCH, config={"train": name}) for name in ("a", "b")]
    assert names_of(runs) == ["scratch (a)", "scratch (b)"]
    other = write_run(Path("c"), SCRATCH, config={"train": "c"}, data={"data/law": 0.7, "data/docs": 0.3})
    assert names_of([runs[0], other]) == ["scratch,data=data/docs", "scratch,data=0.7 data/law + 0.3 data/docs"]


def test_a_folder_is_named_where_many_keys_tell_two_recipes_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    many = {"learning_rate": 0.002, "weight_decay": 0.1, "warmup_fraction": 0.1, "steps": 60, "seq_len": 32}
    runs = [write_run(Path("a"), SCRATCH), write_run(Path("b"), SCRATCH, **many)]
    assert names_of(runs) == ["scratch (a)", "scratch (b)"]
    assert Comparison.of(runs, "scratch (b)").baseline.runs[0].folder == Path("b")


def test_a_combination_is_called_by_its_methods(tmp_path: Path) -> None:
    parts = {"name": "_combination", "parts": [{"name": "deep_jump"}, {"name": "pld"}]}
    assert names_of([write_run(tmp_path / "a", SCRATCH, parts)]) == ["deep_jump+pld"]
