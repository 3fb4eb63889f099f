"""Which runs may stand side by side, which one is the baseline, and what the page says of them."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from comparisons import SCRATCH, page, row, scratch
from corpora import corpus
from histories import TERA, write_run
from histories import recipe as resolved
from matplotlib.figure import Figure
from recipes import tiny

from apollo_ds.__main__ import main
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.errors import UserError
from apollo_ds.experiments.compare.comparison import Comparison
from apollo_ds.experiments.compare.page import write_page
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


@pytest.mark.parametrize("name", ["rollback", "detour"])  # the second is what earlier versions called it
def test_what_a_rollback_lost_is_told(name: str, tmp_path: Path) -> None:
    folder = write_run(tmp_path / "s", SCRATCH)
    lost = {"event": name, "step": 10, "to": 10, "went_wrong_at": 15, "lost_flops": 5e12, "lost_seconds": 5.0}
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps(lost) + "\n")
    told = "went wrong at step 15 and went back to 10: 5e+12 FLOPs and 5 seconds were lost"
    assert told in page([folder, write_run(tmp_path / "a", SCRATCH, "apollo")])


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
    said = refusal(*runs, baseline="mslt")
    assert said.endswith("no such name in the table; choose one of scratch, apollo")


def test_a_better_tuned_baseline_is_pointed_to(tmp_path: Path) -> None:
    better = write_run(tmp_path / "better", [(40, 3.0), (100, 1.5)], learning_rate=0.002)
    text = page([*scratch(tmp_path), better])
    assert "ends lower as scratch,learning_rate=0.002: compare with the best-tuned baseline" in text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"config": {"held_out": "2c"}, "data": "data/law"}, "the held-out text is of data/law, not of data/docs"),
        ({"config": {"tokenizer": "2c"}, "data": "data/law"}, "the tokenizer is of data/law, not of data/docs"),
        (
            {"config": {"tokenizer": "2c", "held_out": "2c"}, "data": {"data/law": 0.7, "data/docs": 0.3}},
            "the tokenizer and the held-out text are of 0.7 data/law + 0.3 data/docs, not of data/docs",
        ),
        (
            {"config": {"held_out": "2c"}},
            "the held-out text is another, though both were of data/docs, which has been prepared anew",
        ),
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
    told = (
        f"{runs[2]} cannot be compared with {runs[0]}: the tokenizer and the held-out text are of data/other, not of "
    )
    assert refusal(runs[0], runs[2]) == f"{told}data/docs"


def test_other_models_are_not_compared_but_dropout_makes_no_other_model(tmp_path: Path) -> None:
    one = write_run(tmp_path / "s", SCRATCH)
    model = {**resolved()["model"], "dropout": 0.1}
    Comparison.of([one, write_run(tmp_path / "d", SCRATCH, model=model)])
    other = write_run(tmp_path / "l", SCRATCH, model={**model, "num_layers": 12})
    why = "model.num_layers is 12, not 6; --frontier compares models of different sizes"
    assert refusal(one, other) == f"{other} cannot be compared with {one}: {why}"


def test_runs_that_are_unlike_the_baseline_are_left_out_and_named_first(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, SCRATCH, name) for name in ("scratch", "apollo")]
    others = [write_run(tmp_path / f"law{n}", SCRATCH, seed=n, data="law", config={"held_out": "2c"}) for n in (1, 2)]
    comparison = Comparison.of([*runs, *others])
    assert [group.name for group in comparison.groups] == ["scratch", "apollo"]
    why = "the held-out text is of law, not of data/docs"
    told = f"Left out: {others[0]} and {others[1]} cannot be compared with {runs[0]}: {why}."
    assert told in page([*runs, *others]).split("| recipe")[0]
    assert [group.name for group in Comparison.of([*runs, *others], str(others[0])).groups] == ["scratch"]
    assert refusal(runs[0], *others).endswith(why)


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
