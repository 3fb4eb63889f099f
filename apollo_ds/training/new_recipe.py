"""`apollo-ds init`: a recipe for a text and a budget, whose figures come from a short run on this machine."""

import os
import shlex
from dataclasses import dataclass, replace
from math import inf
from pathlib import Path
from typing import Any

from rich.console import Console

from apollo_ds.config.array_list import SIGN
from apollo_ds.config.commented import commented
from apollo_ds.config.load import load_recipe, resolve
from apollo_ds.config.overrides import read_deepspeed
from apollo_ds.config.ready import check_ready
from apollo_ds.config.recipe import Recipe
from apollo_ds.data.corpus import Corpus
from apollo_ds.errors import UserError, shown
from apollo_ds.models.shape import ModelShape
from apollo_ds.planning.budget import Budget
from apollo_ds.planning.choose_model import choose_size, shape_of, token_flops
from apollo_ds.planning.first_recipe import COMMENTS, EVALUATIONS, SAVES, SHORT_TO_LONG, recipe_values, with_steps
from apollo_ds.planning.in_words import count_in_words, time_in_words
from apollo_ds.planning.outlook import MOST_EPOCHS, Rate, epoch_tokens, outlook, print_outlook
from apollo_ds.planning.plan import plan
from apollo_ds.training.measure import measurable_ranks, measure, usual_flops
from data_prep.counted import counted

_FEWEST_STEPS = 20
_SHORTEST_SAMPLE = 16
_DRAFT_STEPS = 1000


@dataclass(frozen=True)
class Wish:
    """The arguments of the command. `like` is a recipe whose model is used in place of one of the family."""

    data: Path
    out: Path
    budget: Budget
    family: str
    like: Path | None
    ranks: int | None


def new_recipe(wish: Wish, command: str, console: Console) -> None:
    """Choose a recipe, write it, and print what it will cost. The heading of the file names `command` as its origin.

    Raises:
        UserError: the file or the run's folder exists or cannot be made, the text is missing or does not fit the model,
            or the budget is too small.
    """
    run_folder = Path("runs") / wish.out.stem
    _check_place(wish.out, run_folder)
    if not command.isprintable():  # else the file might not be writable, or not readable
        raise UserError(f"{shown(command)}: a name in it has characters that cannot be printed; rename that")
    ranks, corpus = measurable_ranks(wish.ranks), Corpus.open(wish.data)
    corpus.check_sizes()
    draft, rate = _measured(wish, corpus, ranks, run_folder, console)
    recipe, values, is_short_of_text = _finished(draft, wish, rate)
    check_ready(recipe, ranks)
    planned = plan(recipe)
    result = outlook(recipe, planned, rate)
    stage, tokens = planned["stages"][-1], planned["total"]["tokens"]
    summary = (
        f"A {recipe.model.family} of {counted(recipe.model.num_layers, 'layer')} x {recipe.model.hidden_size} with "
        f"{count_in_words(stage['parameters'])} parameters, {count_in_words(tokens)} tokens in "
        f"{counted(recipe.steps, 'step')}."
    )
    training = f"apollo-ds train {shlex.quote(str(wish.out))}{f' --ranks {ranks}' if wish.ranks else ''}"
    on = f"{counted(ranks, 'rank')} of the machine that it was made on"
    took = f"About {time_in_words(result['time']['seconds'])} on {on}."
    heading = [summary, took, f"Made by: {command}", f"Train it by: {training}", "Rules: docs/guides/init.md."]
    _write(wish.out, commented(values, COMMENTS, heading))
    console.print(summary, soft_wrap=True, highlight=False)
    print_outlook(result, console)
    if is_short_of_text:
        console.print(f"The budget pays for more than {MOST_EPOCHS} epochs; more text would use all of it.")
    console.print(f"{wish.out} is written. Train it by: {training}", soft_wrap=True, markup=False, highlight=False)


@dataclass(frozen=True)
class _Draft:
    """A recipe's values before its number of steps is known, and the most operations and tokens that it may use."""

    values: dict[str, Any]
    flops: float
    tokens: int

    def recipe(self, steps: int) -> Recipe:
        """The recipe with so many steps."""
        values = with_steps(self.values, steps)
        return resolve({**values, "deepspeed": read_deepspeed(values["deepspeed"])}, "init")


def _measured(wish: Wish, corpus: Corpus, ranks: int, out: Path, console: Console) -> tuple[_Draft, Rate]:
    """The draft with the model that the budget pays for, and the measured speed of that model on this machine."""
    flops_per_second = usual_flops(ranks)
    tried: dict[str, Rate] = {}
    while True:
        budget = wish.budget
        if budget.seconds is not None:
            budget = replace(budget, flops=budget.seconds * flops_per_second)
        draft, shape, seq_len = _draft(wish, budget, corpus, ranks, out)
        name = f"{shape.family} {shape.num_layers}x{shape.hidden_size}"
        if name in tried:
            return draft, tried[name]
        recipe = draft.recipe(_DRAFT_STEPS)
        check_ready(recipe, ranks)
        console.print(f"Measuring {name} by a short run ...", highlight=False)
        tried[name] = measure(recipe, ranks)
        flops_per_second = tried[name].tokens_per_second * token_flops(shape, seq_len)
        if budget.seconds is None:
            return draft, tried[name]


def _draft(wish: Wish, budget: Budget, corpus: Corpus, ranks: int, out: Path) -> tuple[_Draft, ModelShape, int]:
    """The draft with a model that the budget pays for, the model's shape, and the length of its samples."""
    vocab_size, most_tokens = corpus.vocab_size, MOST_EPOCHS * epoch_tokens(corpus, 1)
    if wish.like:
        like = load_recipe(wish.like)
        shape = type(like.model).model_validate({**like.model.model_dump(), "vocab_size": vocab_size})
        seq_len = like.seq_len
    else:
        most = min(most_tokens, budget.tokens or most_tokens)
        size = choose_size(wish.family, vocab_size, budget.flops or inf, most)
        shape, seq_len = shape_of(size, wish.family, vocab_size), size.seq_len
    seq_len = _fitting(seq_len, corpus)
    most_tokens = MOST_EPOCHS * epoch_tokens(corpus, seq_len)
    affordable = budget.tokens or (budget.flops or 0.0) / token_flops(shape, seq_len)
    tokens = affordable if budget.tokens else min(affordable, most_tokens)
    is_divided = all(seq_len % divisor == 0 for divisor in SHORT_TO_LONG["divisors"])
    method = SHORT_TO_LONG if is_divided and not budget.seconds else "scratch"
    values = recipe_values(shape, seq_len, tokens * token_flops(shape, seq_len), ranks, method, wish.data, out)
    draft = _Draft(values, wish.budget.flops or inf, budget.tokens or most_tokens)
    return draft, shape, seq_len


def _fitting(seq_len: int, corpus: Corpus) -> int:
    """Halve the length of samples until each split of the text holds at least one sample.

    Raises:
        UserError: the text is too short even then.
    """
    shortest = min(split.tokens for split in corpus.manifest.splits.values())
    while seq_len >= shortest and seq_len > _SHORTEST_SAMPLE:
        seq_len //= 2
    corpus.check_fills(seq_len)
    return seq_len


def _finished(draft: _Draft, wish: Wish, rate: Rate) -> tuple[Recipe, dict[str, Any], bool]:
    """The recipe with all the steps that the budget pays for, its values, and whether more text would allow more steps.

    Raises:
        UserError: the budget pays for too few steps.
    """
    recipe = draft.recipe(_DRAFT_STEPS)
    total = plan(recipe)["total"]
    of_text = _DRAFT_STEPS * draft.tokens / total["tokens"]
    allowed = min(of_text, _DRAFT_STEPS * draft.flops / total["flops"])
    if wish.budget.seconds is not None:
        beside = rate.start_seconds + EVALUATIONS * rate.evaluation_seconds + SAVES * rate.save_seconds
        step_seconds = recipe.global_batch_size * recipe.seq_len / rate.tokens_per_second
        allowed = min(allowed, (wish.budget.seconds - beside) / step_seconds)
        if allowed < _FEWEST_STEPS:
            least = time_in_words(beside + _FEWEST_STEPS * step_seconds)
            raise UserError(f"--budget: start, evaluations and {_FEWEST_STEPS} steps take {least} here; give more")
    if allowed < _FEWEST_STEPS:
        raise UserError(f"--budget: pays for fewer than {_FEWEST_STEPS} steps of this model; give more")
    is_short_of_text = not wish.budget.tokens and allowed == of_text
    return draft.recipe(int(allowed)), with_steps(draft.values, int(allowed)), is_short_of_text


def _check_place(path: Path, run_folder: Path) -> None:
    if "=" in str(path) or path.name.startswith(SIGN):
        raise UserError(f"--out: {path} has a = or @ in it, which train takes for a key or a list; use another name")
    if path.exists() or path.is_symlink():
        raise UserError(f"{path}: is there already; name another file with --out, or remove it")
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no folder {path.parent}; make it, or name another file with --out")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"{path}: the folder {path.parent} cannot be written to; name another file with --out")
    if run_folder.exists():
        raise UserError(f"{run_folder}: a run is there already; name a file with --out that is not called {path.name}")


def _write(path: Path, text: str) -> None:
    try:
        with path.open("x", encoding="utf-8") as file:
            try:
                file.write(text)
                file.flush()
            except OSError:
                path.unlink()
                raise
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}; name another file with --out") from None
