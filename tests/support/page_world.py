"""Makes small versions of all that the pages use: text, shards, a run, a recipe, a saved model, and short commands."""

import contextlib
import glob
import shutil
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
from corpora import corpus, write_real_text
from project import PROJECT
from ranks import pool
from recipes import tiny, write, zero
from saved_models import saved

from apollo_ds.__main__ import main as apollo_ds
from apollo_ds.config.load import load_recipe, resolve
from apollo_ds.config.ready import is_there
from apollo_ds.config.recipe import Recipe
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.config.words import split_recipe
from apollo_ds.engine.processes import Processes
from apollo_ds.errors import UserError
from apollo_ds.models.families import FAMILIES
from apollo_ds.training import run as training
from apollo_ds.training.export_run import export_run
from apollo_ds.training.run import Outcome
from data_prep.__main__ import main as apollo_prep

STEPS = 40
"""Enough for stages of a twentieth of a run."""
MADE = "made"
"""A file in the runs and models that the world has at first. What a page makes itself takes their place."""
GROWS_DEMO = "method.source=runs/demo"
"""Left out: the run of that name here is too narrow for the default recipe. test_upscale.py grows runs."""
NOT_HERE = {"init", "sweep", "eval", "finetune"}
"""Commands that start processes or measure the machine; tests of their own run them."""


def train_in(processes: Processes, folder: Path, recipe: Recipe) -> str | None:
    """Train to the exported model, with paths that begin in a folder; what the user is told if it cannot."""
    with contextlib.chdir(folder):
        try:
            outcome = training.train(recipe, processes)
            run = RunFolder(recipe.out)  # without the report: its figures take longer than the training
            processes.on_first(lambda: export_run(run, run.export, outcome.totals.step))
        except UserError as mistake:
            return str(mistake)
    return None


def train_in_short(*words: str | Path, ranks: int | None = None) -> Outcome:
    """What `apollo_ds.train` returns, of the same method and depth in a model of a few thousand parameters."""
    del ranks
    name, overrides = split_recipe([str(word) for word in words])
    recipe = in_short(load_recipe(name, overrides))
    if (recipe.out / MADE).exists():
        shutil.rmtree(recipe.out)
    ends = pool(2).run(train_in, Path.cwd(), recipe)
    assert ends == [None, None], ends[0]
    return Outcome.read(recipe.out)


def in_short(recipe: Recipe) -> Recipe:
    """A recipe's method on a small model, and on its own text if a page has made it, else on a made-up one."""
    values = recipe.plain()
    family = recipe.model.family
    small = _small(family, recipe.out).plain()
    model = {**small["model"], "num_layers": values["model"]["num_layers"]}
    if is_there(recipe.data) and not FAMILIES[family].is_masked:
        small["data"] = values["data"]
    taken = ("data", "seq_len", "global_batch_size", "micro_batch_size", "eval_samples")
    every = dict.fromkeys(("eval_every", "save_every"), STEPS // 2)
    kept = {**values, **{key: small[key] for key in taken}, **every, "keep_every": 0, "peak_flops": 1e9}
    changes = {"model": model, "steps": STEPS, "deepspeed": zero(1), "sequence_parallel": 1, "trackers": []}
    return resolve({**kept, **changes, "compile_blocks": False, "sample_prompts": []}, "page")


def _small(family: str, out: Path | str, **changes: Any) -> Recipe:
    """As `tiny`, with room for some words more than it is trained on."""
    model = {**tiny(family, out).plain()["model"], "max_position_embeddings": 96}
    return tiny(family, out, model=model, **changes)


@cache
def _made() -> Path:
    """The world as each page finds it."""
    folder = Path(mkdtemp(prefix="apollo-ds-pages-"))
    (folder / "books").mkdir()
    write_real_text(folder / "books" / "one.jsonl")
    shutil.copytree(corpus("gpt2").folder, folder / "data" / "mine")
    mine = saved(folder / "models" / "mine", "llama", vocab_size=corpus("llama").vocab_size, max_position_embeddings=64)
    for path in corpus("llama").tokenizer_folder.iterdir():
        shutil.copy(path, mine)
    with contextlib.chdir(folder):
        write(in_short(tiny("gpt2", "runs/my", data="data/mine")), Path("my.yaml"))
        recipe = _small("gpt2", "runs/mine", peak_flops=1e9, steps=STEPS, keep_every=10)
        assert pool(2).run(train_in, folder, recipe) == [None, None]
    for made in (folder / "runs" / "mine", mine):
        (made / MADE).touch()
    shutil.copytree(folder / "runs" / "mine", folder / "runs" / "demo")
    for name in ("launch", "ds_configs"):
        (folder / name).symlink_to(PROJECT / name)
    return folder


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with `books/`, `data/mine`, `runs/mine`, `my.yaml` and `models/mine`."""
    shutil.copytree(_made(), tmp_path / "world", symlinks=True)
    monkeypatch.chdir(tmp_path / "world")
    return tmp_path / "world"


def run(words: Sequence[str]) -> None:
    """Run a command of a page in the working directory.

    Raises:
        SystemExit: it has failed.
    """
    words = list(_expanded(words))
    if GROWS_DEMO in words:
        return
    if words[0] == "apollo-prep":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", list(_prepared(words)))
            apollo_prep()
    elif words[1:2] == ["train"]:
        train_in_short(*_without_options(words[2:]))
    elif words[1:2] and words[1] in NOT_HERE:
        _stand_in(words)
    elif words[1:2] == ["plan"]:
        _plan(words[2:])
    elif "--push" not in words:  # a hub
        if words[1:2] == ["export"] and Path(words[3], MADE).exists():
            shutil.rmtree(words[3])
        apollo_ds(_of_this_run(words[1:]))


def _expanded(words: Sequence[str]) -> Iterator[str]:
    """What a shell makes of patterns."""
    for word in words:
        yield from sorted(glob.glob(word)) if "*" in word and "=" not in word else [word]


def _prepared(words: Sequence[str]) -> Iterator[str]:
    """A build of the small text, with a vocabulary that it has, in a folder that is free."""
    for before, word in zip(("", *words), words, strict=False):
        if before == "--out":
            shutil.rmtree(word, ignore_errors=True)
        short = {"--vocab-size": "300", "--workers": "1"}.get(before, word)
        yield "books" if (before, word) == ("--source", "docs") else short


def _without_options(words: Sequence[str]) -> list[str]:
    assert not set(words) & {"-h", "--help"}
    return words[: words.index("--ranks")] if "--ranks" in words else list(words)


def _of_this_run(words: Sequence[str]) -> list[str]:
    """A checkpoint of so short a run."""
    return [str(STEPS // 2) if before == "--step" else word for before, word in zip(("", *words), words, strict=False)]


def _plan(words: Sequence[str]) -> None:
    """Show a plan. That a recipe of the package names a text which is not there is no mistake of the page."""
    try:
        apollo_ds(["plan", *words])
    except SystemExit as end:
        options = [number for number, word in enumerate(words) if word.startswith("-")]
        name, overrides = split_recipe(words[: options[0]] if options else words)
        recipe = load_recipe(name, overrides)
        if end.code and ("data=" in " ".join(words) or is_there(recipe.data)):
            raise


def _stand_in(words: Sequence[str]) -> None:
    """Have what a command would write, where the world has the like of it."""
    out = Path(words[words.index("--out") + 1]) if "--out" in words else None
    if words[1] == "init" and out and not out.exists():
        shutil.copy("my.yaml", out)
