"""The command line: what `plan` prints, and that a mistake is one line and exit code 2, before anything starts."""

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from corpora import corpus
from project import PROJECT
from recipes import tiny, write

from apollo_ds.__main__ import main
from apollo_ds.config.load import load_recipe
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.data.corpus import Corpus
from data_prep import files
from data_prep.manifest import TokenizerEntry, read_manifest, write_manifest

BERT_BASE = str(PROJECT / "launch" / "recipes" / "bert-base.yaml")


Capture = pytest.CaptureFixture[str]


def error_line(capsys: Capture, *arguments: str) -> str:
    """The one line that a failing command prints."""
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    printed = capsys.readouterr()
    assert caught.value.code == 2
    assert printed.out == ""
    assert printed.err.startswith("apollo-ds: ")
    assert printed.err.count("\n") == 1
    assert printed.err.endswith("\n")
    return printed.err.removeprefix("apollo-ds: ").rstrip("\n")


@pytest.fixture
def recipe_file(tmp_path: Path) -> str:
    """A recipe that would train, with a corpus that is there."""
    return write(tiny("bert", tmp_path / "run"), tmp_path / "recipe.yaml")


def planned(capsys: Capture, *arguments: str) -> dict[str, Any]:
    with suppress(SystemExit):  # of a recipe whose text is not there
        main(["plan", *arguments, "--json"])
    return json.loads(capsys.readouterr().out)


def test_the_plan_of_bert_base_is_the_published_one(capsys: Capture) -> None:
    stages = planned(capsys, BERT_BASE)["stages"]
    assert [stage["unique_layers"] for stage in stages] == [1, 3, 6, 12]
    assert [stage["parameters"] for stage in stages] == [31_547_706, 45_723_450, 66_987_066, 109_514_298]
    assert [stage["trainable_parameters"] for stage in stages] == [stage["parameters"] for stage in stages]
    assert [stage["expected_depth"] for stage in stages] == pytest.approx([1.7668, 4.2256, 7.1354, 12], abs=5e-5)
    assert [stage["first_step"] for stage in stages] == [0, 12_500, 25_000, 62_500]
    assert [stage["steps"] for stage in stages] == [12_500, 12_500, 37_500, 187_500]


def test_the_plan_for_programs_has_the_promised_keys(capsys: Capture) -> None:
    plan = planned(capsys, BERT_BASE)
    promised = {"stage", "method", "first_step", "steps", "unique_layers", "hidden_size", "seq_len", "expected_depth"}
    promised |= {"parameters", "trainable_parameters", "flops_per_step", "flops_share"}
    for stage in plan["stages"]:
        assert promised <= stage.keys()
    total, stages = plan["total"], plan["stages"]
    assert sum(stage["flops_share"] for stage in stages) == pytest.approx(1)
    assert total["flops"] == pytest.approx(sum(stage["flops_per_step"] * stage["steps"] for stage in stages))
    assert total["tokens"] == total["steps"] * 768 * 512


def test_scratch_costs_what_the_plan_compares_with(capsys: Capture) -> None:
    apollo, scratch = (planned(capsys, BERT_BASE, f"method={name}")["total"] for name in ("apollo", "scratch"))
    assert scratch["flops"] == scratch["scratch_flops"] == apollo["scratch_flops"]
    assert apollo["flops"] < scratch["flops"]


def test_the_plan_for_people_shows_the_same(capsys: Capture) -> None:
    with pytest.raises(SystemExit):  # its text is not there
        main(["plan", BERT_BASE])
    printed = capsys.readouterr().out
    for shown in ("31.5 M", "45.7 M", "67.0 M", "109.5 M", "1.77", "4.23", "7.14", "12.00", "62,500", "unchanged (3 |"):
        assert shown in printed


def test_the_default_recipe_is_the_demo(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    assert planned(capsys, "steps=400")["total"]["steps"] == 400
    assert planned(capsys) == planned(capsys, "launch/recipes/demo.yaml")


def test_two_recipes_are_one_too_many(capsys: Capture) -> None:
    assert "one recipe at a time" in error_line(capsys, "plan", BERT_BASE, "other.yaml")


@pytest.mark.parametrize("command", ["plan", "train"])
@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("stpes=3", "unknown key stpes; did you mean steps?"),
        ("method.layers=[3, 1, 6]", "method.layers: must increase"),
        ("method.sampler=all", "method.sampler: "),
    ],
)
def test_a_mistake_in_the_recipe_is_one_line(
    command: str, override: str, expected: str, recipe_file: str, capsys: Capture
) -> None:
    assert expected in error_line(capsys, command, recipe_file, override)


def test_a_missing_data_folder_is_named_with_the_command_that_makes_it(recipe_file: str, capsys: Capture) -> None:
    line = error_line(capsys, "train", recipe_file, "data=/nowhere/text")
    assert line.startswith("data: /nowhere/text holds no prepared text")
    assert "apollo-prep build" in line


def test_a_damaged_manifest_is_named(recipe_file: str, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "manifest.json").write_text("{")
    assert error_line(capsys, "train", recipe_file, f"data={tmp_path}").startswith(
        f"data: {tmp_path}/manifest.json: damaged"
    )


def test_a_tokenizer_of_another_size_is_refused(recipe_file: str, capsys: Capture) -> None:
    line = error_line(capsys, "train", recipe_file, "model.vocab_size=30522")
    size = corpus("bert").vocab_size
    assert f"the tokenizer has {size} tokens, model.vocab_size is 30522; set model.vocab_size={size}" in line
    assert str(corpus("bert").folder / "manifest.json") in line


def test_bert_needs_a_tokenizer_with_its_special_tokens(recipe_file: str, capsys: Capture) -> None:
    bpe = corpus("gpt2")
    line = error_line(capsys, "train", recipe_file, f"data={bpe.folder}", f"model.vocab_size={bpe.vocab_size}")
    assert "no [CLS] or [MASK]" in line
    assert "WordPiece" in line


@pytest.mark.parametrize("name", ["train.bin", "train.idx", "validation.bin", "tokenizer/tokenizer.json"])
def test_a_flipped_byte_is_named_at_start_up_even_after_a_sound_start(
    name: str, recipe_file: str, tmp_path: Path, capsys: Capture
) -> None:
    data = shutil.copytree(corpus("bert").folder, tmp_path / "data")
    Corpus.open(data).verify()
    content = bytearray((data / name).read_bytes())
    content[len(content) // 2] ^= 1
    (data / name).write_bytes(content)
    line = error_line(capsys, "train", recipe_file, f"data={data}")
    assert line.startswith(f"data: {data / name}: missing or ")
    assert f"or remove {data} and build again" in line


def test_whole_words_need_a_tokenizer_that_tells_where_they_start(
    recipe_file: str, tmp_path: Path, capsys: Capture
) -> None:
    data = shutil.copytree(corpus("bert").folder, tmp_path / "data")
    path = data / "tokenizer" / "tokenizer.json"
    shutil.copy(corpus("gpt2").tokenizer_folder / path.name, path)
    manifest, hashes = read_manifest(data), {path.name: files.describe(path)}
    of_tokenizer = {"sha256": files.sha256(path), "files": {**manifest.tokenizer.model_dump()["files"], **hashes}}
    tokenizer = TokenizerEntry.model_validate({**manifest.tokenizer.model_dump(), **of_tokenizer})
    write_manifest(data, manifest.model_copy(update={"tokenizer": tokenizer}))
    line = error_line(capsys, "train", recipe_file, f"data={data}", "masking=whole_word")
    assert line.endswith("tokenizer.json: masking: whole_word needs a WordPiece tokenizer; use masking=token")


@pytest.mark.parametrize(
    "words",
    [
        ["data=/nowhere/text"],
        ["model.vocab_size=30522"],
        ["model.max_position_embeddings=99999", "seq_len=99999"],
        ["global_batch_size=3", "micro_batch_size=1"],
        ["deepspeed.fp16.enabled=true"],
        ["out={folder}/recipe.yaml"],
        ["out={folder}/recipe.yaml/run"],
        ["out={folder}/other", "seed=1"],
    ],
    ids=str,
)
def test_planning_says_what_training_would(words: list[str], recipe_file: str, tmp_path: Path, capsys: Capture) -> None:
    RunFolder(tmp_path / "other").create(load_recipe(Path(recipe_file), [f"out={tmp_path / 'other'}"]))
    words = [word.format(folder=tmp_path) for word in words]
    refused = error_line(capsys, "train", recipe_file, *words)
    for form in ([], ["--json"]):
        with pytest.raises(SystemExit) as caught:
            main(["plan", recipe_file, *words, *form])
        printed = capsys.readouterr()
        assert (caught.value.code, printed.err) == (2, f"apollo-ds: {refused}\n")
        assert "stages" in printed.out if form else "1" in printed.out


def test_the_default_text_need_not_be_there_to_plan(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["plan", "steps=400"])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["out", "data"])
@pytest.mark.parametrize("text", ["2024-11-26", "no", "1e3", "null", "[1]", "a: b", "~user/x"])
def test_a_path_on_the_command_line_is_its_text(name: str, text: str, recipe_file: str) -> None:
    assert getattr(load_recipe(Path(recipe_file), [f"{name}={text}"]), name) == Path(text)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"RANK": "abc"}, "RANK: must be a whole number, 0 to 0, not 'abc'"),
        ({"RANK": "9", "WORLD_SIZE": "2"}, "RANK: must be a whole number, 0 to 1, not '9'"),
        ({"RANK": "0", "WORLD_SIZE": "0"}, "WORLD_SIZE: must be a whole number, at least 1, not '0'"),
        ({"RANK": "0", "WORLD_SIZE": "x"}, "WORLD_SIZE: must be a whole number, at least 1, not 'x'"),
        ({"RANK": "0", "WORLD_SIZE": "2"}, "LOCAL_RANK: is not set, though RANK is"),
        ({"RANK": "0", "LOCAL_RANK": "-1"}, "LOCAL_RANK: must be a whole number, at least 0, not '-1'"),
        ({"RANK": "0", "MASTER_PORT": "99999"}, "MASTER_PORT: must be a whole number, 1 to 65535, not '99999'"),
    ],
    ids=str,
)
def test_a_rank_s_environment_is_checked(
    variables: dict[str, str], expected: str, recipe_file: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert error_line(capsys, "train", recipe_file).startswith(expected)


def test_ranks_must_divide_the_batch(recipe_file: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    sentence = "global_batch_size: 3 ranks do not divide 8; use a multiple of 3"
    assert sentence in error_line(capsys, "train", recipe_file, "--ranks", "3")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert sentence in error_line(capsys, "train", recipe_file)
    assert error_line(capsys, "train", recipe_file, "--ranks", "3").startswith("ranks: cannot be chosen here")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("steps=10", "steps 20, not 10"),
        ("seed=1", "seed 42, not 1"),
        ("learning_rate=1e-2", "learning_rate 0.003, not 0.01"),
        ("model.hidden_size=64", "model.hidden_size 32, not 64"),
        ("method.layers=[1, 2, 6]", "method.layers [1, 3, 6], not [1, 2, 6]"),
        ("method=scratch", "method apollo, not scratch;"),
        ("method=[apollo, pld]", "method apollo, not apollo+pld;"),
    ],
)
def test_a_run_folder_of_another_recipe_is_refused(
    override: str, expected: str, recipe_file: str, capsys: Capture
) -> None:
    recipe = load_recipe(Path(recipe_file))
    RunFolder(recipe.out).create(recipe)
    line = error_line(capsys, "train", recipe_file, override)
    assert f"this run was started with {expected}" in line
    assert str(recipe.out / "config.yaml") in line
    assert "out=" in line


def test_only_a_run_folder_can_be_exported(tmp_path: Path, capsys: Capture) -> None:
    line = error_line(capsys, "export", str(tmp_path), str(tmp_path / "model"))
    assert line == f"{tmp_path}: not a run folder; it has no config.yaml"


@pytest.mark.parametrize("arguments", [[], ["--step", "7"]])
def test_only_a_checkpoint_that_is_there_can_be_exported(
    arguments: list[str], recipe_file: str, tmp_path: Path, capsys: Capture
) -> None:
    recipe = load_recipe(Path(recipe_file))
    RunFolder(recipe.out).create(recipe)
    line = error_line(capsys, "export", str(recipe.out), str(tmp_path / "model"), *arguments)
    assert line == f"{recipe.out / 'checkpoints'}: no such checkpoint; there are none"
    assert not (tmp_path / "model").exists()


def test_a_damaged_checkpoint_cannot_be_exported(recipe_file: str, tmp_path: Path, capsys: Capture) -> None:
    recipe = load_recipe(Path(recipe_file))
    RunFolder(recipe.out).create(recipe)
    (recipe.out / "checkpoints" / "step-5").mkdir()
    line = error_line(capsys, "export", str(recipe.out), str(tmp_path / "model"), "--step", "5")
    assert str(recipe.out / "checkpoints" / "step-5") in line


def test_only_run_folders_can_be_compared(tmp_path: Path, capsys: Capture) -> None:
    line = error_line(capsys, "compare", str(tmp_path), "--out", str(tmp_path / "out"))
    assert line == f"{tmp_path}: not a run folder; it has no metrics.jsonl, and holds no run folders"


def test_a_run_without_held_out_loss_cannot_be_compared(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"event": "start", "step": 0}\n')
    line = error_line(capsys, "compare", str(tmp_path), "--out", str(tmp_path / "out"))
    assert line == f"{tmp_path}/metrics.jsonl: no held-out loss is recorded yet"
    assert not (tmp_path / "out").exists()
