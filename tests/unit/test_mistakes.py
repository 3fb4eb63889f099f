"""Mistakes that a newcomer makes on the command line. Each ends in one sentence that names it and what to write."""

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from corpora import corpus
from recipes import tiny, write

from apollo_ds.__main__ import main
from apollo_ds.config.load import load_recipe
from apollo_ds.config.run_folder import RunFolder
from data_prep import __main__ as prep

TRAINING = {
    # the command
    "trian": "there is no command trian; did you mean train?",
    "demo": "demo is no command; to train, write apollo-ds train demo",
    "my.yaml steps=10": "my.yaml is no command; to train, write apollo-ds train my.yaml steps=10",
    "build --source docs": "build is a command of apollo-prep; write apollo-prep build --source docs",
    "--ranks 2 train": "there is no option --ranks before the command; write it behind, as in apollo-ds train --ranks",
    # options
    "train --rnaks 2": "there is no option --rnaks; did you mean --ranks? See apollo-ds train --help",
    "--verison": "there is no option --verison; did you mean --version?",
    "-v": "there is no option -v; see apollo-ds --help",
    "train -r 2": "there is no option -r; see apollo-ds train --help",
    "train --steps 10": "--steps is not an option: steps is a key of the recipe; write steps=10, without dashes",
    "train --learning-rate=1e-3": "write learning_rate=1e-3, without dashes",
    "train --data=data/docs": "write data=data/docs, without dashes",
    "train --gpus 4": "there is no option --gpus; did you mean --ranks? See apollo-ds train --help",
    "train --ranks": "--ranks needs a value: --ranks N",
    "train --ranks two": "--ranks: must be a whole number, not two",
    "train --ranks 0": "ranks: must be a whole number of at least 1, not 0",
    "plan --json=yes": "--json takes no value; write --json alone",
    "plan --utilization 0.3 --ranks 2": "did you mean --utilisation?",
    "train \u2013ranks 2": "\u2013ranks begins with a long dash; write --ranks",
    "train \u201csteps=10\u201d": "\u201csteps=10\u201d has curly quotes; write straight ones (') or none",
    "train steps=10\u00a0seed=1": "has a special space, as text from web pages may have",
    # keys and values
    "train steps 10": "steps: is a key of the recipe; write it and its value as one word, steps=10",
    "train steps: 10": "one word, steps=10",
    "train steps = 10": "one word, steps=10",
    "train steps= 10": "one word, steps=10",
    "train steps =10": "one word, steps=10",
    "train steps:10": "one word, steps=10",
    "train seed": "one word, seed=VALUE",
    "train model.yaml steps=ten": "model.yaml: there is no such recipe; `apollo-ds init` writes one",
    "train samples=yes": "samples: choose one of at_end, at_evaluations, none, not True",
    "train trackers=wandb": "trackers: must be a list in brackets, not 'wandb'",
    "train steps=ten": "steps: must be a whole number, not 'ten'",
    "train steps=10.5": "steps: must be a whole number, not 10.5",
    "train steps=-3": "steps: must be greater than 0, not -3",
    "train document_mask=maybe": "document_mask: choose true or false, not 'maybe'",
    "train lr=1e-3": "unknown key lr; did you mean learning_rate?",
    "train batch_size=8": "did you mean global_batch_size or micro_batch_size?",
    "train hidden_size=64": "unknown key hidden_size; did you mean model.hidden_size?",
    "train method.jump_at=0.5": "unknown key method.jump_at; methods that have it: deep_jump",
    "train method=appolo": "method: there is no 'appolo'; did you mean apollo?",
    "train model=bert-bse": "model: there is no preset 'bert-bse'; did you mean bert-base?",
    "train model.family=lama": "model.family: there is no 'lama'; did you mean llama?",
    "train deepspeed=zero1.json": "there is no file zero1.json; did you mean ds_configs/zero1.json?",
    "train deepspeed.zero_optimisation.stage=1": "did you mean deepspeed.zero_optimization?",
    # what stands where a recipe should
    "train apollo": "apollo: is a method, not a recipe; write method=apollo",
    "train bertbase": "bertbase: there is no such recipe; did you mean bert-base?",
    "train runs/mine": "runs/mine: is the folder of a run, not a recipe; the command that started the run resumes it",
    "train text": "text: is a folder of prepared text, not a recipe; write data=text",
    "train runs": "runs: is a folder, not a recipe; name a YAML file",
    "train empty.yaml": "empty.yaml: is empty; a recipe is a YAML file with lines such as seed: 1",
    "train typo.yaml": "typo.yaml: not valid YAML: line 2, column 7: mapping values are not allowed here",
    "train demo bert-base": "one recipe at a time, not demo and bert-base",
    "train tiny.yml": "tiny.yml: there is no such recipe; did you mean tiny.yaml?",
    "train windows": "windows: there is no such recipe; did you mean windows.yaml?",
    "train exported": "exported: is a saved model, not a recipe; init_from=hf:exported begins a run with its weights",
    "train data=texts": "data: texts holds no prepared text itself; name texts/docs",
    "train data=nothere": "data: nothere holds no prepared text; make it with `apollo-prep build --source TEXT",
    "train data=pdfs": "data: pdfs holds no prepared text; make it with `apollo-prep build --source pdfs",
    "train data=a.jsonl": "a.jsonl: is a file, not a folder from apollo-prep; make a folder from it by apollo-prep",
    # what stands where a run should
    "export": "RUN is missing, as in: apollo-ds export runs/mine model; see apollo-ds export --help",
    "export runs/mine": "FOLDER is missing, as in: apollo-ds export runs/mine model",
    "export runs/mine model more": "more is one word too many",
    "export mine model": "mine: there is no such run; did you mean runs/mine?",
    "export bert-base model": "bert-base: is a recipe, not a run; train it, and name the run's folder",
    "export text model": "text: is a folder of prepared text, not of a run",
    "export exported model": "exported: is a saved model, not a run; name the run's folder",
    "export runs/mine/export model": "runs/mine/export: is a part of the run runs/mine; name the run",
    "export runs/mine model --step last": "--step: must be a whole number, not last",
    "compare": "RUN is missing, as in: apollo-ds compare ",
    "compare runs/nothing-*": "runs/nothing-*: there is no run with a folder of this name",
    "export runs model": "runs: not a run folder; name one of the runs in it: runs/mine",
    # the other commands
    "generate runs/mien Once": "runs/mien: no such folder; did you mean runs/mine?",
    "generate tiny.yaml Once": "tiny.yaml: is a file, not the folder of a run",
    "generate runs Once": "runs: not a run folder; name one of the runs in it: runs/mine",
    "generate runs/mine/export Once": "runs/mine/export: is a part of the run runs/mine; name the run",
    "generate 'my model' Once": "my model: no such folder; name a run, an exported model, or a model of",
    "generate runs/mine Once --count 0": "--count: must be at least 1, not 0",
    "evaluate runs/mine": "there is no command evaluate; did you mean eval?",
    "list": "there is no command list; did you mean runs?",
    "version": "there is no command version; did you mean --version?",
    "resume runs/mine": "there is no command resume; apollo-ds train trains a recipe, and resumes its run",
    "keys lerning": "lerning: no key has this in its name, and no method has this name; did you mean learning_rate?",
    "keys appolo": "did you mean apollo?",
    "init --data text --out x.yaml": "--budget, --tokens: give one of them, such as --budget 10m",
    "init --data text --out x.yaml --budget 10 minutes": "minutes is one word too many; put quotes around a value",
    "init --data text --out x.yaml --budget 10min": "--budget: must be a time such as 90s, 10m, 2h or 3d, or operat",
    "init --data text --out x.yaml --budget 0": "a time has a unit, such as 10m",
    "init --data text --out x.yaml --budget 1m --family Llama": "--family: there is no Llama; did you mean llama?",
    "init --data text --out empty.yaml --budget 1m": "empty.yaml: is there already; name another file with --out",
    "sweep windows.yaml": "windows.yaml: is a recipe, not the grid of a sweep, which has the keys recipe, set, grid",
    "sweep nothing.yaml": "nothing.yaml: there is no such file; name the file of a sweep",
    "finetune runs/mine --task sst-2 --data glue": "--task: there is no sst-2; did you mean sst2?",
    "finetune runs/mine --task sst2": "--data is missing, as in: apollo-ds finetune runs/mine --task rte",
}
PREPARING = {
    "biuld": "there is no command biuld; did you mean build?",
    "--version": "there is no option --version; see apollo-prep --help",
    "build": "--source is missing, as in: apollo-prep build --source docs --tokenizer wordpiece --out data/wordpiece",
    "build --sourse a.jsonl": "there is no option --sourse; did you mean --source?",
    "build --source pdfs --tokenizer bpe --out out": "is there; 1 file was left out: pdfs/a.pdf",
    "build --source doc --tokenizer bpe --out out": "doc: there is no such file or folder; did you mean docs?",
    "build --source b.jsonl --tokenizer bpe --out out": "there is no such file or folder; did you mean a.jsonl?",
    "build --source a.jsonl --tokenizer gpt2 --out out": "there is no such file or folder; give wordpiece or bpe",
    "build --source a.jsonl --tokenizer BPE --out out": "did you mean bpe?",
    "build --source a.jsonl --tokenizer bpe --vocab-size 8k --out out": "--vocab-size: must be a whole number, not 8k",
    "build --source a.jsonl --tokenizer bpe --deduplicate nera --out out": "there is no nera; did you mean near?",
    "build --source a.jsonl --tokenizer bpe --validation-fraction 5 --out out": "below 1, such as 0.05",
    "build --source a.jsonl --tokenizer bpe --weight a 2 --out out": "2 is one word too many",
    "build --source a.jsonl --tokenizer bpe --out": "--out needs a value: --out FOLDER",
    "inspect": "FOLDER is missing, as in: apollo-prep inspect data/docs",
    "inspect texts": "texts/manifest.json: not found: name texts/docs",
    "inspect a.jsonl": "a.jsonl: is a file, not a folder from apollo-prep; make a folder from it by apollo-prep build",
    "inspect pdfs": "pdfs/manifest.json: not found: make shards from it by apollo-prep build --source pdfs --tokenizer",
    "inspect nothere": "nothere/manifest.json: not found: make the shards by apollo-prep build --out nothere",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with a run, prepared text, and files that are neither."""
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(write(tiny("bert", Path("runs/mine")), tmp_path / "tiny.yaml"))
    RunFolder(recipe.out).create(recipe)
    Path("text").symlink_to(corpus("bert").folder)
    for name, content in {
        "empty.yaml": "",
        "typo.yaml": "steps: 10\n  seed: 3\n",
        "windows.yaml": "model: bert-base\r\nsteps: 10\r\n",
        "a.jsonl": '{"text": "one"}\n{"text": "two"}\n',
        "pdfs/a.pdf": "",
        "exported/config.json": "{}",
        "exported/manifest.json": "{}",
        "texts/docs/manifest.json": "{}",
        "texts/model/manifest.json": "{}",
        "texts/model/config.json": "{}",
        "runs/mine/export/tokenizer.json": "{}",
    }.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(content, newline="")


def said(run: Callable[[], None], program: str, capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as end:
        run()
    printed = capsys.readouterr()
    assert (end.value.code, printed.out, printed.err.count("\n")) == (2, "", 1)
    return printed.err.removeprefix(f"{program}: ")


@pytest.mark.parametrize("words", TRAINING)
def test_training_says_what_to_write(words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert TRAINING[words] in said(lambda: main(shlex.split(words)), "apollo-ds", capsys)


@pytest.mark.parametrize("words", PREPARING)
def test_preparing_says_what_to_write(
    words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["apollo-prep", *shlex.split(words)])
    assert PREPARING[words] in said(prep.main, "apollo-prep", capsys)


def test_windows_line_ends_are_line_ends() -> None:
    Path("windows.yaml").write_bytes(Path("tiny.yaml").read_bytes().replace(b"\n", b"\r\n"))
    assert load_recipe("windows.yaml") == load_recipe("tiny.yaml")


@pytest.mark.parametrize("prompt", ["\u201cHello\u201d", "a\u00a0b", "\u2014 he said"])
@pytest.mark.parametrize("command", ["generate", "fill"])
def test_a_prompt_may_have_any_characters(command: str, prompt: str, capsys: pytest.CaptureFixture[str]) -> None:
    """So it is the model that is not there."""
    assert "nothing" in said(lambda: main([command, "runs/nothing", prompt]), "apollo-ds", capsys)


def test_a_text_in_quotes_is_no_slip_of_a_text_program(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", "tiny.yaml", 'sample_prompts=["a\u00a0b c"]', "steps=none"]
    assert "steps: must be a whole number" in said(lambda: main(words), "apollo-ds", capsys)
