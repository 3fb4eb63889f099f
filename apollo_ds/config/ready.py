"""Check what a run needs beside a valid recipe: a number of ranks, a text and a folder that fit it.

`apollo-ds plan` and `apollo-ds train` both call `check_ready`, so that planning says what training would refuse. Checks
that take longer than a moment are left to training. docs/results/reliability.md lists them.
"""

import os
import shutil
from collections.abc import Sequence
from math import isclose
from pathlib import Path

from apollo_ds.checkpoint.find import has_traces
from apollo_ds.config.deepspeed import precision
from apollo_ds.config.packaged import DEFAULT_RECIPE, find_recipe
from apollo_ds.config.recipe import Recipe
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.config.trackers import check_trackers
from apollo_ds.data.demo import default_text_folder
from apollo_ds.data.prompts import Prompts
from apollo_ds.data.text import Data, Text, folders_of
from apollo_ds.errors import UserError
from apollo_ds.gpus import visible_gpus
from apollo_ds.models.families import family_of
from apollo_ds.schedule.growable import check_growths
from apollo_ds.schedule.source import BranchPoint, Source, SourceModel, SourceRun
from apollo_ds.schedule.stage import Stage
from data_prep.manifest import NAME

_LEVEL = 0.1
"""A learning rate that changes by less than this fraction from one step to the next counts as unchanged."""


def with_default_text(recipe: Recipe, name: Path, overrides: Sequence[str]) -> tuple[Recipe, bool]:
    """The recipe with the folder of its text, and whether this is the default text, which training prepares itself."""
    found = find_recipe(name)
    is_default = found is not None and found.resolve() == DEFAULT_RECIPE
    if not is_default or any(override.startswith("data=") for override in overrides):
        return recipe, False
    assert isinstance(recipe.data, Path)
    return recipe.model_copy(update={"data": default_text_folder(recipe.data, recipe.model)}), True


def is_there(data: Data) -> bool:
    """Whether every folder holds prepared text."""
    return all((folder / NAME).is_file() for folder in folders_of(data))


def check_ready(recipe: Recipe, ranks: int, is_prepared: bool = True) -> list[str]:
    """Check that a run can start. With `is_prepared` false its text need not exist yet.

    Returns:
        Sentences on what is odd about the model that the run starts from. `oddities_of_source` finds them.
    Raises:
        UserError: a stage cannot be made from the one before it, or the number of ranks, the machine, the trackers, the
            text or the run folder does not fit the recipe.
    """
    recipe.micro_batch(ranks)  # raises if they do not divide the batch
    _check_copies(recipe, ranks)
    stages = recipe.schedule().stages
    check_growths(stages)
    _check_optimizer_of_source(recipe, stages)
    _check_operators(stages)
    _check_pooling(recipe, stages)
    check_trackers(recipe.trackers)
    if precision(recipe.deepspeed) == "fp16" and _is_on_cpu():
        raise UserError("deepspeed.fp16: is for GPUs, and this machine has none that it may use; use bf16 or fp32")
    if recipe.compile_blocks and _is_on_cpu() and shutil.which(os.environ.get("CXX", "g++")) is None:
        raise UserError(
            "compile_blocks: needs a C++ compiler on a CPU, and there is none; install g++, name another in CXX, or "
            "use compile_blocks=false"
        )
    odd: list[str] = []
    if is_prepared:
        check_text(recipe)
        if "RANK" not in os.environ and not has_traces(RunFolder(recipe.out).checkpoints):
            # Ranks check this later, when they start: it imports torch, and they have to set its environment first.
            odd = oddities_of_source(recipe, Text.open(recipe.data))
    RunFolder(recipe.out).check(recipe)
    return odd


def changes_optimizer(recipe: Recipe, source: Source | BranchPoint) -> bool:
    """Whether the run's source was trained with another optimizer, so that its moments cannot be used."""
    return not isinstance(source, SourceModel) and source.optimizer != recipe.optimizer.name


def _check_optimizer_of_source(recipe: Recipe, stages: Sequence[Stage]) -> None:
    source, key = stages[0].source, key_of_source(recipe)
    if source is None or key == "init_from" or not changes_optimizer(recipe, source):
        return
    assert not isinstance(source, SourceModel)
    if key == "branch_from":
        fix = "begin anew from its weights with init_from in place of branch_from"
    elif stages[1].learned_growth or stages[1].growth.moments == "reset":
        return
    else:
        fix = "let the moments begin anew with method.moments=reset"
    raise UserError(
        f"{key}: {source.name} was trained with {source.optimizer}, whose moments {recipe.optimizer.name} cannot use; "
        f"{fix}, or use optimizer={source.optimizer}"
    )


def _check_operators(stages: Sequence[Stage]) -> None:
    for stage in stages:
        if stage.learned_growth:
            from apollo_ds.growth.learned import operator_of  # imports torch, which most recipes do not need here

            operator_of(stage.learned_growth, stage)


def _check_pooling(recipe: Recipe, stages: Sequence[Stage]) -> None:
    for number, stage in enumerate(stages, start=1):
        if stage.pool > 1 and recipe.document_mask:
            raise UserError(
                f"document_mask: stage {number} pools {stage.pool} tokens, which may belong to two documents; use "
                "document_mask=false"
            )


def _check_copies(recipe: Recipe, ranks: int) -> None:
    group = recipe.deepspeed.get("zero_optimization", {}).get("zero_hpz_partition_size", 1)
    if ranks % min(group, ranks):
        raise UserError(
            f"deepspeed.zero_optimization.zero_hpz_partition_size: {group} does not divide the number of ranks, "
            f"{ranks}; use a number that does: that of a machine's GPUs"
        )


def check_text(recipe: Recipe) -> None:
    """Check that the text fits the model and the source run.

    Raises:
        UserError: the text is missing or does not fit, or a prompt is too long for a sample.
    """
    text = Text.open(recipe.data, recipe.held_out)
    text.check_fits(recipe.model, recipe.seq_len, whole_words=recipe.masking == "whole_word")
    corpus = text.vocabulary
    Prompts(corpus, family_of(recipe.model).is_masked, recipe.seq_len).of_texts(recipe.sample_prompts)
    source = recipe.schedule().source
    if source and source.tokenizer not in (None, corpus.tokenizer_hash):
        raise UserError(
            f"{key_of_source(recipe)}: {source.folder} was trained with another tokenizer than "
            f"{corpus.tokenizer_folder}; prepare the text with the source's tokenizer: `apollo-prep build --tokenizer "
            "FOLDER`"
        )


def oddities_of_source(recipe: Recipe, text: Text) -> list[str]:
    """Sentences on what is odd about the source of a run, although the run can start.

    For a model that `transformers` saved this imports torch.

    Raises:
        UserError: such a model does not fit the recipe or the text.
    """
    schedule, key = recipe.schedule(), key_of_source(recipe)
    source = schedule.source
    if isinstance(source, BranchPoint):
        rate, next_rate = source.learning_rate, schedule.at(source.step).learning_rate
        if isclose(rate, next_rate, rel_tol=_LEVEL):
            return []
        return [f"{key}: the learning rate goes from {rate:.3g} to {next_rate:.3g} at step {source.step:,}"]
    if isinstance(source, SourceRun) and source.document_mask not in (None, recipe.document_mask):
        was, now = (str(value).lower() for value in (source.document_mask, recipe.document_mask))
        return [f"{key}: {source.name} was trained with document_mask={was}, and this run has {now}"]
    if not isinstance(source, SourceModel):
        return []
    from apollo_ds.checkpoint.hf_check import check_model

    try:
        return check_model(source, text.vocabulary)
    except UserError as error:
        raise UserError(f"{key}: {error}") from None


def key_of_source(recipe: Recipe) -> str:
    """The key of the recipe that names what the run starts from."""
    return "branch_from" if recipe.branch_from else "init_from" if recipe.init_from else "method.source"


def _is_on_cpu() -> bool:
    """Whether this process has no accelerator. The launcher of a rank may know other kinds than NVIDIA's."""
    return os.environ.get("DS_ACCELERATOR") == "cpu" if "RANK" in os.environ else not visible_gpus()
