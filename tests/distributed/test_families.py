"""Whole runs of every model family on two ranks. A new file in `models/families` is tested here without a change."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import transformers
from corpora import corpus
from project import PROJECT
from ranks import pool
from recipes import tiny, zero
from runs import events, train, trained
from transformers import AutoTokenizer, PreTrainedModel

from apollo_ds.checkpoint.export import export
from apollo_ds.checkpoint.find import verify
from apollo_ds.checkpoint.saved_state import SavedState
from apollo_ds.config.load import load_recipe
from apollo_ds.config.packaged import DEFAULT_RECIPE
from apollo_ds.config.recipe import Recipe
from apollo_ds.data.batches import BatchSource
from apollo_ds.data.corpus import Corpus
from apollo_ds.data.text import Text
from apollo_ds.finetune.pretrained import Pretrained
from apollo_ds.models.families import FAMILIES, family_of


@pytest.fixture(scope="module", params=FAMILIES)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """A family's run that nothing disturbs, through two growths. Several tests look at it."""
    recipe = tiny(request.param, tmp_path_factory.mktemp("whole") / "run", save_every=4)
    assert pool(2).run(train, recipe) == [None, None]
    return recipe


@pytest.mark.parametrize("stage", [0, 2, 3])
def test_the_losses_do_not_depend_on_how_the_state_is_shared(whole: Recipe, stage: int, tmp_path: Path) -> None:
    other = whole.model_copy(update={"out": tmp_path / "run", "deepspeed": zero(stage)})
    assert pool(2).run(train, other) == [None, None]
    for kind, key in (("step", "loss"), ("eval", "loss"), ("growth", "loss_after")):
        losses = [[event[key] for event in events(recipe, kind)] for recipe in (whole, other)]
        assert losses[0] == pytest.approx(losses[1], abs=1e-4)
    assert all(growth["loss_before"] == growth["loss_after"] for growth in events(other, "growth"))


def last_checkpoint(recipe: Recipe) -> Path:
    return recipe.out / "checkpoints" / f"step-{recipe.steps}"


def test_growths_between_divisors_leave_the_held_out_loss_as_it_is(whole: Recipe) -> None:
    growths = events(whole, "growth")
    first = int(family_of(whole.model).first_layer_is_unlike)
    grown = [(growth["from"], growth["to"]) for growth in growths]
    assert grown == [(first + 1, first + 3), (first + 3, first + 6)]
    assert all(growth["loss_before"] == growth["loss_after"] for growth in growths)


def test_a_run_cut_short_goes_on_as_if_it_had_not_been(whole: Recipe, tmp_path: Path) -> None:
    cut = whole.model_copy(update={"out": tmp_path / "cut"})
    pool(2).run(train, cut, 7)
    assert pool(2).run(train, cut) == [None, None]
    assert [event["step"] for event in events(cut, "resume")] == [5]  # saved where it grew, then at 8
    assert trained(cut) == trained(whole)
    files = sorted(path.name for path in last_checkpoint(cut).glob("*.safetensors"))
    assert len(files) == 2
    for name in files:
        assert (last_checkpoint(cut) / name).read_bytes() == (last_checkpoint(whole) / name).read_bytes()


def test_the_exported_model_has_the_trainer_s_held_out_loss(whole: Recipe, tmp_path: Path) -> None:
    family, text = family_of(whole.model), Corpus.open(whole.data)
    export(SavedState(verify(last_checkpoint(whole))), whole.schedule().stages[-1], text, tmp_path / "model")
    head = "AutoModelForMaskedLM" if family.is_masked else "AutoModelForCausalLM"
    loaded = getattr(transformers, head).from_pretrained(tmp_path / "model").eval()
    assert type(loaded) is family.model_class()
    assert AutoTokenizer.from_pretrained(tmp_path / "model").vocab_size == whole.model.vocab_size
    assert held_out_loss(loaded, whole) == pytest.approx(events(whole, "eval")[-1]["loss"], abs=1e-6)
    tuned = Pretrained.open(str(tmp_path / "model")).build("AutoModelForSequenceClassification", {}, seed=1)
    for name, weight in loaded.get_submodule(family.blocks).named_parameters():
        assert torch.equal(weight, tuned.get_submodule(family.blocks).get_parameter(name)), name


@torch.no_grad()
def held_out_loss(model: PreTrainedModel, recipe: Recipe) -> float:
    """The mean cross-entropy of a plain model's logits, on the held-out samples of a run."""
    source = BatchSource(Text.open(recipe.data), recipe.model, recipe.seq_len, recipe.seed)
    logits, labels = [], []
    for ids, positions, targets in source.validation_batches(recipe.eval_samples, 4, rank=0, world_size=1):
        index = positions[..., None].expand(-1, -1, recipe.model.vocab_size)
        logits.append(model(input_ids=ids).logits.gather(1, index).flatten(0, 1))
        labels.append(targets.flatten())
    total = F.cross_entropy(torch.cat(logits), torch.cat(labels), reduction="sum")
    return float(total) / sum(len(part) for part in labels)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_demo_recipe_trains_with_the_name_alone(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text is a smaller one, so it has a smaller vocabulary; the steps are fewer and smaller."""
    monkeypatch.chdir(PROJECT)
    text = corpus(family)
    smaller = [f"data={text.folder}", f"out={tmp_path / 'run'}", f"model.vocab_size={text.vocab_size}", "steps=30"]
    fewer = ["eval_every=10", "save_every=30", "global_batch_size=4", "micro_batch_size=2", "seq_len=32"]
    recipe = load_recipe(DEFAULT_RECIPE, [f"model.family={family}", *smaller, *fewer])
    assert pool(2).run(train, recipe) == [None, None]
    assert len(events(recipe, "growth")) == len(recipe.schedule().stages) - 1 > 0
    evaluations = [event["loss"] for event in events(recipe, "eval")]
    assert evaluations[-1] < evaluations[0] - 0.3
