"""`apollo-ds init`, with a rate that is stated in place of one that is measured."""

import re
import resource
from dataclasses import replace
from pathlib import Path

import pytest
from corpora import corpus

from apollo_ds.__main__ import main
from apollo_ds.config.load import load_recipe
from apollo_ds.config.recipe import Recipe
from apollo_ds.models.families import FAMILIES
from apollo_ds.planning.outlook import Rate
from apollo_ds.planning.plan import plan
from apollo_ds.training import new_recipe

Capture = pytest.CaptureFixture[str]
RATE = Rate(1e5, memory_bytes=700_000_000, start_seconds=10, evaluation_seconds=0.1, save_seconds=1)
measured: list[Recipe] = []


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty working directory, on a machine of a known rate."""

    def measure(recipe: Recipe, ranks: int) -> Rate:
        measured.append(recipe)
        return RATE

    measured.clear()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(new_recipe, "measure", measure)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})


def init(*words: str, family: str = "gpt2") -> Recipe:
    main(["init", "--data", str(corpus(family).folder), "--out", "my.yaml", *words])
    return load_recipe("my.yaml")


def refused(capsys: Capture, *words: str) -> str:
    """The one line that a failing command ends with."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    line = capsys.readouterr().err
    assert (caught.value.code, line.count("\n")) == (2, 1)
    return line.removeprefix("apollo-ds: ").rstrip("\n")


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("budget", [("--budget", "2m"), ("--budget", "3e12"), ("--tokens", "100k")])
def test_a_recipe_that_plan_accepts_is_written_for_each_family(
    family: str, budget: tuple[str, str], capsys: Capture
) -> None:
    recipe = init(*budget, "--family", family, family=family)
    assert recipe.model.family == family
    main(["plan", "my.yaml"])
    assert "Text: " in capsys.readouterr().out
    uncommented = [line for line in Path("my.yaml").read_text().splitlines() if "#" not in line]
    assert all(line.split(":")[0].strip() in type(recipe.model).model_fields for line in uncommented)


def test_the_budget_is_kept_and_so_are_4_epochs(capsys: Capture) -> None:
    recipe = init("--budget", "2m")
    out = capsys.readouterr().out
    epochs = float(re.search(r"Text: ([\d.]+) epochs", out)[1])  # type: ignore[index]
    assert 3.9 <= epochs <= 4
    assert "more text would use all of it" in out
    assert recipe.out == Path("runs/my")
    assert "apollo-ds train my.yaml" in out


@pytest.mark.parametrize("flops", [2e10, 5e10])
def test_operations_are_kept(flops: float) -> None:
    assert plan(init("--budget", f"{flops:g}"))["total"]["flops"] == pytest.approx(flops, rel=0.1)


def test_tokens_are_kept_and_a_text_that_they_repeat_too_often_is_warned_of(capsys: Capture) -> None:
    recipe = init("--tokens", "1M")
    assert plan(recipe)["total"]["tokens"] == pytest.approx(1e6, rel=0.05)
    assert "The text is repeated" in capsys.readouterr().out


def test_the_model_of_another_recipe_is_taken_with_the_vocabulary_of_the_text() -> None:
    recipe, demo = init("--budget", "2m", "--like", "demo"), load_recipe("demo")
    assert recipe.model == demo.model.model_copy(update={"vocab_size": corpus("gpt2").vocab_size})
    assert len(measured) == 1


def test_samples_that_no_quarter_divides_are_trained_on_at_full_length() -> None:
    init("--tokens", "100k", "--like", "demo")
    like = Path("my.yaml").read_text().replace("seq_len: 128", "seq_len: 126")
    Path("my.yaml").unlink()
    Path("odd.yaml").write_text(like.replace("[4, 2, 1]", "[2, 1]").replace("[0.3, 0.6]", "[0.3]"))
    recipe = init("--tokens", "100k", "--like", "odd.yaml")
    assert (recipe.seq_len, recipe.method.name) == (126, "scratch")


def test_no_file_is_written_over(capsys: Capture) -> None:
    Path("my.yaml").write_text("mine")
    words = ("init", "--data", str(corpus("gpt2").folder), "--budget", "2m", "--out", "my.yaml")
    assert "my.yaml: is there already; name another file with --out" in refused(capsys, *words)
    assert Path("my.yaml").read_text() == "mine"
    assert measured == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--data", "nowhere"], "data: nowhere holds no prepared text"),
        (["--out", "no/my.yaml"], "no/my.yaml: there is no folder no"),
        (["--out", "a=b.yaml"], "--out: a=b.yaml has a = or @ in it"),
        (["--out", "@b.yaml"], "--out: @b.yaml has a = or @ in it"),
        (["--out", "."], ".: is there already"),
        (["--out", "old.yaml"], "runs/old: a run is there already"),
        (["--budget", "2"], "--budget: "),
        (["--budget", "1e10", "--like", "llama-160m"], "--budget: pays for fewer than 20 steps of this model"),
        (["--family", "bert"], "no [CLS] or [MASK]"),
        (["--like", "nothing"], "nothing: there is no such recipe"),
        (["--ranks", "0"], "ranks: must be a whole number of at least 1"),
        (["--ranks", "3"], "--ranks: measuring starts every rank, and 3 are more than the 2"),
        (["--data", "a\x07b"], "a name in it has characters that cannot be printed"),
        (["--data", "a\udcffb"], "a name in it has characters that cannot be printed"),
    ],
    ids=str,
)
def test_a_mistake_is_one_line_and_writes_nothing(words: list[str], expected: str, capsys: Capture) -> None:
    Path("runs/old").mkdir(parents=True)
    usual = {"--data": str(corpus("gpt2").folder), "--out": "my.yaml", "--budget": "2m"}
    given = usual | dict(zip(words[::2], words[1::2], strict=True))
    assert expected in refused(capsys, "init", *(word for pair in given.items() for word in pair))
    assert not list(Path().glob("*.yaml"))
    assert measured == [] or expected.startswith("--budget: pays")


def test_a_rank_refuses_before_it_says_that_it_measures(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "0")
    data = str(corpus("gpt2").folder)
    told = "RANK is set, so this process is one of a run's ranks, which cannot measure; unset RANK"
    assert refused(capsys, "init", "--data", data, "--budget", "2m", "--out", "my.yaml") == told
    assert refused(capsys, "plan", "demo", f"data={data}", "--measure") == told


def test_plan_measures_on_no_more_ranks_than_there_are_cores(capsys: Capture) -> None:
    line = refused(capsys, "plan", "demo", f"data={corpus('gpt2').folder}", "--measure", "--ranks", "4")
    assert line.startswith("--ranks: measuring starts every rank, and 4 are more than the 2")


def test_the_heading_names_the_words_of_a_call() -> None:
    init("--budget", "2m", "--ranks", "1")
    written, data = Path("my.yaml").read_text(), corpus("gpt2").folder
    assert f"# Made by: apollo-ds init --data {data} --out my.yaml --budget 2m --ranks 1\n" in written
    assert "on 1 rank of the machine" in written


def test_too_few_tokens_a_parameter_are_warned_of(capsys: Capture) -> None:
    init("--tokens", "100k", "--like", "demo")
    assert "tokens a parameter, too few for a model of this size" in capsys.readouterr().out


def test_a_full_disk_leaves_no_part_of_the_file(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_recipe, "commented", lambda *_: "a" * 100_000)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        words = ("init", "--data", str(corpus("gpt2").folder), "--budget", "2m", "--out", "my.yaml")
        assert "my.yaml: cannot be written: File too large" in refused(capsys, *words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert not Path("my.yaml").exists()


def test_a_time_that_is_too_short_for_a_start_is_told_of(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(new_recipe, "measure", lambda *_: replace(RATE, start_seconds=60))
    words = ("init", "--data", str(corpus("gpt2").folder), "--budget", "1m", "--out", "my.yaml")
    assert "--budget: start, evaluations and 20 steps take 66" in refused(capsys, *words)
    assert not Path("my.yaml").exists()


def test_more_text_is_not_asked_for_where_the_start_takes_the_time(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_recipe, "measure", lambda *_: replace(RATE, tokens_per_second=1e3, start_seconds=90))
    init("--budget", "2m")
    assert "more text" not in capsys.readouterr().out


@pytest.mark.parametrize("stated", ["0", "-1", "nan", "inf"])
def test_plan_refuses_a_rate_that_is_none(stated: str, capsys: Capture) -> None:
    assert "--tokens-per-second: must be" in refused(capsys, "plan", "demo", "--tokens-per-second", stated)
