"""What a model writes while it trains: the same however it is trained, and nothing of training changes."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ranks import pool
from recipes import tiny, zero
from runs import events, train, train_with_interruptions, trained

from apollo_ds.config.recipe import Recipe
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.data.prompts import MASK
from apollo_ds.engine.processes import Processes
from apollo_ds.errors import UserError
from apollo_ds.training.export_run import export_run
from apollo_ds.training.run import make_trainer

FAMILIES = ("gpt2", "bert")
EACH: dict[str, Any] = {"samples": "at_evaluations"}


def run(ranks: int, recipe: Recipe) -> Recipe:
    assert pool(ranks).run(train, recipe) == [None] * ranks
    return recipe


def samples(recipe: Recipe) -> list[list[dict[str, str]]]:
    return [event["samples"] for event in events(recipe, "samples")]


@pytest.fixture(scope="module", params=FAMILIES)
def sampled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recipe]:
    """A run under ZeRO 1 that writes at each evaluation."""
    yield run(2, tiny(request.param, tmp_path_factory.mktemp("sampled") / "run", **EACH))


def test_each_evaluation_writes_and_by_default_the_last(sampled: Recipe, tmp_path: Path) -> None:
    assert [event["step"] for event in events(sampled, "samples")] == [10, 20]
    usual = run(2, tiny(sampled.model.family, tmp_path / "usual"))
    assert samples(usual) == samples(sampled)[-1:]


@pytest.mark.parametrize(("stage", "family"), [(0, "gpt2"), (1, "bert"), (2, "bert"), (3, "gpt2")])
def test_nothing_of_training_changes(stage: int, family: str, tmp_path: Path) -> None:
    own = {"deepspeed": zero(stage), "model": {**tiny(family, tmp_path).model.model_dump(), "dropout": 0.1}}
    with_samples = run(2, tiny(family, tmp_path / "with", **own, **EACH))
    without = run(2, tiny(family, tmp_path / "without", **own, samples="none"))
    assert trained(with_samples) == trained(without)
    assert len(samples(with_samples)) == 2
    assert not samples(without)


@pytest.mark.parametrize(
    ("ranks", "changes"),
    [(1, {}), (2, {"deepspeed": zero(0)}), (2, {"deepspeed": zero(3)}), (2, {"sequence_parallel": 2})],
    ids=["one-rank", "zero0", "zero3", "shared-samples"],
)
def test_ranks_and_zero_stages_write_the_same(
    ranks: int, changes: dict[str, Any], sampled: Recipe, tmp_path: Path
) -> None:
    assert samples(run(ranks, tiny(sampled.model.family, tmp_path / "other", **changes, **EACH))) == samples(sampled)


def test_a_run_cut_short_writes_the_same(sampled: Recipe, tmp_path: Path) -> None:
    cut = tiny(sampled.model.family, tmp_path / "cut", **EACH)
    pool(2).run(train_with_interruptions, cut, [7, 13])
    assert samples(cut) == samples(sampled)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("gpt2", {"method": "ligo", "steps": 24}),
        ("llama", {"method": "short_to_long", "document_mask": True}),
        ("modernbert", {"deepspeed": zero(1, "bf16")}),
        ("gpt2", {"micro_batch_size": 1, "activation_checkpointing": True}),
    ],
    ids=["learned-growth", "short-samples", "windows", "micro-batch"],
)
def test_every_kind_of_stage_writes(family: str, changes: dict[str, Any], tmp_path: Path) -> None:
    recipe = run(2, tiny(family, tmp_path / "run", **{"eval_every": 2, **changes}, **EACH))
    assert [event["step"] for event in events(recipe, "samples")] == [e["step"] for e in events(recipe, "eval")]
    assert all(sample["prompt"] for written in samples(recipe) for sample in written)
    assert any(sample["text"] for written in samples(recipe) for sample in written)


def test_nothing_is_written_while_tokens_are_pooled(tmp_path: Path) -> None:
    stages = [{"fraction": 0.5, "pool": 2}, {"fraction": 0.5}]
    method = {"name": "compound_grow", "moments": "map", "stage_list": stages}
    recipe = run(2, tiny("bert", tmp_path / "run", method=method, eval_every=5, **EACH))
    assert [event["step"] for event in events(recipe, "samples")] == [15, 20]


def test_blocks_that_are_compiled_are_not_compiled_anew(tmp_path: Path) -> None:
    plain, compiled = (tiny("gpt2", tmp_path / str(c), compile_blocks=c, steps=4, eval_every=4) for c in (False, True))
    (counted,) = pool(1).run(graphs_before_and_after_samples, compiled)
    assert counted[0] == counted[1] > 0
    assert samples(run(1, plain)) == [counted[2]]


def graphs_before_and_after_samples(processes: Processes, recipe: Recipe) -> tuple[int, int, list[dict[str, str]]]:
    from torch._dynamo.utils import counters

    with make_trainer(recipe.model_copy(update={"samples": "none"}), processes) as trainer:
        trainer.train()
        before = counters["stats"]["unique_graphs"]
        written = trainer.sampler.write(trainer.engine, trainer.schedule.stages[-1], ())
        return before, counters["stats"]["unique_graphs"], written


def random_state_after_samples(processes: Processes, recipe: Recipe) -> tuple[bool, str]:
    with make_trainer(recipe, processes) as trainer:
        before = torch.get_rng_state()
        trainer.sampler.write(trainer.engine, trainer.schedule.stages[0], ())
        return torch.equal(before, torch.get_rng_state()), trainer.engine.model.layers[0].training


def test_random_numbers_of_training_are_left_alone(tmp_path: Path) -> None:
    assert pool(1).run(random_state_after_samples, tiny("gpt2", tmp_path / "run")) == [(True, True)]


def test_the_user_s_prompts_are_continued(tmp_path: Path) -> None:
    recipe = run(2, tiny("gpt2", tmp_path / "run", sample_prompts=["the cat sees", "the dog"]))
    (written,) = samples(recipe)
    assert [sample["prompt"] for sample in written] == ["the cat sees", "the dog"]
    assert all(sample["text"].strip() for sample in written)


def test_the_exported_model_fills_in_the_same_words(tmp_path: Path) -> None:
    from transformers import pipeline

    recipe = run(2, tiny("bert", tmp_path / "run", sample_prompts=["the cat [MASK] the dog today ."]))
    export_run(RunFolder(recipe.out), recipe.out / "export")
    best = pipeline("fill-mask", str(recipe.out / "export"))("the cat [MASK] the dog today .")[0]
    assert samples(recipe) == [
        [{"prompt": f"the cat {MASK} the dog today.", "text": best["sequence"].replace(" .", ".")}]
    ]


@pytest.mark.parametrize(
    ("family", "prompt", "said"),
    [
        ("gpt2", "", "sample_prompts: one of them is empty"),
        ("gpt2", "the cat " * 40, "and there is room for 31 in a sample; shorten it, or raise seq_len"),
        ("bert", "the cat", "'the cat' has no [MASK] for the model to fill in; write one"),
    ],
)
def test_a_prompt_that_does_not_fit_is_refused(family: str, prompt: str, said: str, tmp_path: Path) -> None:
    from apollo_ds.config.ready import check_ready

    with pytest.raises(UserError) as refused:
        check_ready(tiny(family, tmp_path / "run", sample_prompts=[prompt]), ranks=2)
    assert said in str(refused.value)
