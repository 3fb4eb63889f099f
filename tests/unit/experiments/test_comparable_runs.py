"""Which runs may stand side by side, which one is the baseline, and what the page says of them."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from comparisons import SCRATCH, page, row, scratch
from corpora import corpus
from histories import TERA, rows, write_run
from histories import recipe as resolved
from matplotlib.figure import Figure
from recipes import tiny

from apollo_ds.__main__ import main
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.errors import UserError
from apollo_ds.experiments.compare.comparison import Comparison
from apollo_ds.experiments.compare.groups import group_runs
from apollo_ds.experiments.compare.page import write_page
from apollo_ds.experiments.history import RunHistory
from data_prep.figure_style import save_figure


def refusal(*folders: Path, baseline: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        Comparison.of(folders, baseline)
    return str(caught.value)


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "s", SCRATCH)
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    (folder / "metrics.jsonl").write_text("\n".join([lines[0], lines[1][:-5], *lines[2:]]) + "\n")
    assert refusal(folder).startswith(f"{folder}/metrics.jsonl: line 2 is damaged; ")


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


@pytest.mark.parametrize("name", ["rollback", "detour"])  # the second is what earlier versions called it
def test_what_a_rollback_lost_is_told(name: str, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "s", SCRATCH)
    lost = {"event": name, "step": 10, "to": 10, "went_wrong_at": 15, "lost_flops": 5e12, "lost_seconds": 5.0}
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(lost) + "\n")
    told = "went wrong at step 15 and went back to 10: 5e+12 FLOPs and 5 seconds were lost"
    assert told in page([folder, write_run(tmp_path / "a", SCRATCH, "apollo")])


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
    near = group_runs([RunHistory.read(write_run(tmp_path / f"{r}", SCRATCH, learning_rate=r)) for r in rates])
    assert [group.name for group in near] == [f"scratch,learning_rate={rate}" for rate in rates]
    evals = (1, 2)
    alike = group_runs([RunHistory.read(write_run(tmp_path / f"e{n}", SCRATCH, eval_every=n)) for n in evals])
    assert [group.name for group in alike] == ["scratch,eval_every=1", "scratch,eval_every=2"]
    thirds = [write_run(tmp_path / f"w{n}", SCRATCH, warmup_fraction=n / 3, eval_every=n) for n in evals]
    assert [group.name for group in group_runs([RunHistory.read(run) for run in thirds])] == [
        "scratch,warmup_fraction=0.333333",
        "scratch,warmup_fraction=0.666667",
    ]


@pytest.mark.parametrize("baseline", ["apollo", "a", "outside"])
def test_the_baseline_is_a_run_or_a_recipe_s_name(
    baseline: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_run(Path("outside"), SCRATCH, "pld")
    comparison = Comparison.of([*scratch(Path()), write_run(Path("a"), SCRATCH, "apollo")], baseline)
    assert comparison.baseline.name == ("pld" if baseline == "outside" else "apollo")


def test_an_unknown_baseline_is_refused_with_those_that_there_are(tmp_path: Path) -> None:
    runs = [*scratch(tmp_path), write_run(tmp_path / "a", SCRATCH, "apollo")]
    assert refusal(*runs, baseline="mslt") == "--baseline mslt: neither the folder of a run nor one of scratch, apollo"


def test_a_better_tuned_baseline_is_pointed_to(tmp_path: Path) -> None:
    better = write_run(tmp_path / "better", [(40, 3.0), (100, 1.5)], learning_rate=0.002)
    text = page([*scratch(tmp_path), better])
    assert "ends lower as scratch,learning_rate=0.002: compare with the best-tuned baseline" in text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"config": {"held_out": "2c"}}, "its held-out text is 2c, not 1b"),
        ({"config": {"tokenizer": "2c"}}, "its tokenizer is 2c, not 0a"),
        ({"seq_len": 64}, "seq_len is 64, not 32"),
        ({"eval_samples": 32}, "eval_samples is 32, not 16"),
        ({"masking": "whole_word"}, "masking is whole_word, not token"),
        ({"document_mask": True}, "document_mask is True, not False"),
    ],
)
def test_losses_of_different_things_are_not_compared(changes: dict[str, Any], expected: str, tmp_path: Path) -> None:
    one, other = write_run(tmp_path / "s", SCRATCH), write_run(tmp_path / "a", SCRATCH, "apollo", **changes)
    assert refusal(one, other) == f"{other} cannot be compared with {one}: {expected}"


def test_a_run_folder_says_which_text_its_losses_are_of(tmp_path: Path) -> None:
    recipe = tiny("bert", tmp_path / "run")
    RunFolder(recipe.out).create(recipe)
    config = yaml.safe_load((recipe.out / "config.yaml").read_text())
    text = corpus("bert")
    assert (config["tokenizer"], config["held_out"]) == (text.tokenizer_hash, text.held_out_hash)


def test_losses_of_texts_in_one_folder_are_compared_where_an_earlier_version_kept_no_hashes(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, SCRATCH, name) for name in ("scratch", "apollo", "pld")]
    for run, data in zip(runs[1:], ("data/docs", "data/other"), strict=True):
        config = yaml.safe_load((run / "config.yaml").read_text())
        config["recipe"]["data"] = data
        del config["held_out"], config["tokenizer"]
        (run / "config.yaml").write_text(yaml.safe_dump(config))
    Comparison.of(runs[:2])
    assert refusal(*runs).endswith("its held-out text is data/other, not data/docs")


def test_other_models_are_not_compared_but_dropout_makes_no_other_model(tmp_path: Path) -> None:
    one = write_run(tmp_path / "s", SCRATCH)
    model = {**resolved()["model"], "dropout": 0.1}
    Comparison.of([one, write_run(tmp_path / "d", SCRATCH, model=model)])
    other = write_run(tmp_path / "l", SCRATCH, model={**model, "num_layers": 12})
    assert refusal(one, other) == f"{other} cannot be compared with {one}: model.num_layers is 12, not 6"


def test_the_same_seed_does_not_count_twice(tmp_path: Path) -> None:
    one, other = write_run(tmp_path / "one", SCRATCH), write_run(tmp_path / "other", SCRATCH)
    assert refusal(one, other) == f"{one} and {other} are the same recipe with the same seed, 7; name one of them"
    assert len(Comparison.of([one, one]).groups) == 1  # one folder named twice is one run


def test_times_on_other_numbers_of_ranks_are_said_not_to_compare(tmp_path: Path) -> None:
    other = write_run(tmp_path / "a", SCRATCH, "apollo", config={"ranks": 8})
    assert "Times do not compare: runs had 2 ranks and 8 ranks." in page([*scratch(tmp_path), other])


def test_a_source_is_counted_too(tmp_path: Path) -> None:
    spent = {"source": "runs/small", "source_flops": 10 * TERA, "source_tokens": 500, "source_seconds": 20.0}
    text = page([write_run(tmp_path / "s", SCRATCH), write_run(tmp_path / "a", [(50, 2.0)], "net2net", start=spent)])
    assert row(text, "saving S", "net2net")["saving S"] == "50.0%"
    counted = row(text, "saving S", "net2net, counting its source")
    assert (counted["FLOPs"], counted["saving S"], counted["seconds"]) == ("6e+13", "40.0%", "70")


def test_the_page_has_its_figures(tmp_path: Path) -> None:
    seeds = [
        write_run(tmp_path / f"a{n}", [(10, 4.5 + n / 10), (40, 3.0), (80, 1.5)], "apollo", growth_at=10, seed=n)
        for n in (1, 2)
    ]
    comparison = Comparison.of([*scratch(tmp_path), *seeds, write_run(tmp_path / "p", [(40, None), (80, 3.0)], "pld")])
    written = write_page(comparison, tmp_path / "out")
    assert written == tmp_path / "out" / "compare.md"
    names = ("loss_against_flops", "loss_against_tokens", "loss_against_time", "saving_against_loss")
    for name in (*names, "loss_around_growth"):
        assert f"({name}.png)" in written.read_text()
        assert {path.suffix for path in written.parent.glob(f"{name}.*")} == {".png", ".pdf"}
    write_page(comparison, written.parent)  # over its own
    written.write_text("precious")
    with pytest.raises(UserError, match=r"out: holds compare\.md, which no comparison wrote; move it, or name another"):
        write_page(comparison, written.parent)
    written.unlink()
    with pytest.raises(UserError, match=r"out: holds loss_against_flops\.png, which no comparison wrote"):
        write_page(comparison, written.parent)


def test_a_page_that_was_interrupted_is_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def save_one(figure: Figure, path: Path) -> None:
        save_figure(figure, path)
        raise KeyboardInterrupt

    comparison = Comparison.of(scratch(tmp_path))
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("apollo_ds.experiments.compare.page.save_figure", save_one)
        write_page(comparison, tmp_path / "out")
    assert list((tmp_path / "out").glob("*.png"))
    write_page(comparison, tmp_path / "out")


def test_the_command_prints_the_tables_and_writes_only_when_told_where(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [*scratch(tmp_path), write_run(tmp_path / "a", [(20, 3.0), (40, 2.5), (60, 1.5)], "apollo")]
    words = [str(run) for run in runs]
    before = set(tmp_path.iterdir())
    main(["compare", *words])
    printed = capsys.readouterr().out
    assert "To the final held-out loss of scratch, 2.0000 nats per token, the mean of 3 seeds:" in printed
    assert "50.0%" in printed
    assert set(tmp_path.iterdir()) == before
    main(["compare", *words, "--baseline", "apollo", "--out", str(tmp_path / "out")])
    assert capsys.readouterr().out.endswith(f"{tmp_path / 'out' / 'compare.md'}\n")


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    comparison = Comparison.of([write_run(tmp_path / "s", SCRATCH)])
    with pytest.raises(UserError, match=r"file/out: cannot be written to"):
        write_page(comparison, tmp_path / "file" / "out")
