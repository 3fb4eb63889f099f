"""Models that `transformers` made and saved grow half as deep and half as wide again, and train on."""

import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import torch
from corpora import corpus
from ranks import pool
from recipes import tiny, zero
from runs import events, losses, train
from saved_models import saved
from torch.nn.functional import cross_entropy

from apollo_ds.config.recipe import Recipe
from apollo_ds.data.batches import BatchSource
from apollo_ds.data.text import Text
from apollo_ds.errors import UserError
from apollo_ds.models.families import FAMILIES
from apollo_ds.planning.plan import plan

SIZES = {
    "hidden_size": 32,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "max_position_embeddings": 32,
}
DEEPER = {"num_layers": 6}
WIDER = {"hidden_size": 48, "num_heads": 6}
STEPS = 4
EXACT_WIDTH = ("gpt2", "gpt_neox", "llama")


def own_sizes(family: str) -> dict[str, Any]:
    """What a family's class must be told beside `SIZES`."""
    grouped = {"num_key_value_heads": 2} if family in ("llama", "qwen3") else {}
    rows = {"max_position_embeddings": 32 + 1, "pad_token_id": 0} if family == "roberta_prelayernorm" else {}
    windows = {"global_attn_every_n_layers": 1} if family == "modernbert" else {}
    return {**SIZES, **grouped, **rows, **windows, "vocab_size": corpus(family).vocab_size}


@cache
def given(family: str) -> Path:
    """A model with the tokenizer of the tests' text."""
    folder = saved(Path(mkdtemp(prefix="apollo-ds-saved-")), family, shard_size="20KB", **own_sizes(family))
    shutil.copytree(corpus(family).tokenizer_folder, folder, dirs_exist_ok=True)
    return folder


def grown(family: str, out: Path, sizes: dict[str, Any], **changes: Any) -> Recipe:
    """A run that grows it."""
    if "hidden_size" in sizes:
        small = tiny(family, out, model=f"hf:{given(family)}", method="scratch").model
        sizes = {**sizes, **({"num_key_value_heads": 3} if family in ("llama", "qwen3") else {})}
        sizes["intermediate_size"] = small.intermediate_size * 3 // 2
        sizes["norm_epsilon"] = small.norm_epsilon * (2 / 3 if family in EXACT_WIDTH else 1)
    method = {"name": "upscale", "source": f"hf:{given(family)}"}
    model = {"from": f"hf:{given(family)}", **sizes}
    return tiny(family, out, **{"model": model, "method": method, "steps": STEPS, **changes})


def loss_by_transformers(family: str, recipe: Recipe) -> float:
    """The held-out loss of the saved model, in the plain class."""
    model = FAMILIES[family].model_class().from_pretrained(given(family)).eval()
    source = BatchSource(Text.of(corpus(family)), recipe.model, recipe.seq_len, recipe.seed)
    total, scored = 0.0, 0
    for ids, positions, labels in source.validation_batches(recipe.eval_samples, 8, 0, 1):
        with torch.no_grad():
            logits = model(input_ids=ids).logits
        rows = logits.gather(1, positions.unsqueeze(-1).expand(-1, -1, logits.shape[-1]))
        total += float(cross_entropy(rows.flatten(0, 1), labels.flatten(), reduction="sum"))
        scored += int((labels != -100).sum())
    return total / scored


@pytest.mark.parametrize("stage", [1, 3])
@pytest.mark.parametrize("family", FAMILIES)
def test_it_grows_in_depth_and_width_and_trains_on(family: str, stage: int, tmp_path: Path) -> None:
    recipe = grown(family, tmp_path / "run", {**DEEPER, **WIDER}, deepspeed=zero(stage))
    assert pool(2).run(train, recipe) == [None, None]
    (growth,) = events(recipe, "growth")
    assert (growth["from"], growth["to"], growth["step"]) == (4, 6, 0)
    assert growth["loss_before"] == pytest.approx(loss_by_transformers(family, recipe), abs=1e-5)
    is_exact = plan(recipe)["stages"][1]["function"] == "unchanged"
    assert is_exact == (family in EXACT_WIDTH)
    if is_exact:
        assert growth["loss_after"] == pytest.approx(growth["loss_before"], abs=1e-5)
    assert len(losses(recipe)) == STEPS
    assert events(recipe, "start")[0]["source"] == f"hf:{given(family)}"


@pytest.mark.parametrize("family", [name for name, family in FAMILIES.items() if family.is_pre_norm])
def test_more_layers_leave_the_function_of_a_pre_norm_model(family: str, tmp_path: Path) -> None:
    recipe = grown(family, tmp_path / "run", DEEPER, steps=1)
    assert plan(recipe)["stages"][1]["function"] == "unchanged"
    assert pool(2).run(train, recipe) == [None, None]
    (growth,) = events(recipe, "growth")
    assert growth["loss_after"] == growth["loss_before"]


@pytest.mark.parametrize("family", FAMILIES)
def test_training_goes_on_from_it_as_it_is(family: str, tmp_path: Path) -> None:
    name = f"hf:{given(family)}"
    recipe = tiny(family, tmp_path / "run", model=name, init_from=name, method="scratch", steps=2, learning_rate=1e-9)
    assert pool(2).run(train, recipe) == [None, None]
    assert events(recipe, "eval")[0]["loss"] == pytest.approx(loss_by_transformers(family, recipe), abs=1e-5)


def test_a_started_run_needs_the_saved_model_no_more(tmp_path: Path) -> None:
    """Its sizes and what it is are in the run's own config.yaml, the weights in its checkpoints."""
    folder = Path(shutil.copytree(given("llama"), tmp_path / "model"))
    values = {
        "model": {"from": f"hf:{folder}", **DEEPER},
        "method": {"name": "upscale", "source": f"hf:{folder}"},
        "steps": 8,
        "save_every": 2,
    }
    recipe = tiny("llama", tmp_path / "run", **values)
    pool(2).run(train, recipe, 5)
    shutil.rmtree(folder)
    again = tiny("llama", recipe.out, **values)
    assert again == recipe
    assert pool(2).run(train, again) == [None, None]
    assert len(losses(again)) == 8
    with pytest.raises(UserError, match=r"model: hf:.*no such folder"):
        tiny("llama", tmp_path / "other", **values)


@pytest.mark.parametrize(
    ("sizes", "told"),
    [
        ({"rope_theta": 10_000.0}, "the source's rope_theta is 500.0, and growth keeps it; set model.rope_theta=500.0"),
        ({"vocab_size": 301}, "the source's vocab_size is 300, and growth keeps it; set model.vocab_size=300"),
        ({"max_position_embeddings": 64}, "the source's max_position_embeddings is 32, and growth keeps it"),
        (
            {"num_key_value_heads": 4},
            "2 query heads share each head of keys and values, and keep doing so; set model.n",
        ),
        ({"tie_word_embeddings": True}, "the source's tie_word_embeddings is False, and growth keeps it"),
        ({"num_layers": 3}, "4 layers cannot grow to 3"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_another_model_than_the_saved_one_is_told(sizes: dict[str, Any], told: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as refused:
        grown("llama", tmp_path / "run", sizes)
    assert f"method.source: hf:{given('llama')} cannot grow into the model: {told}" in str(refused.value)


def test_a_saved_model_of_another_family_is_told(tmp_path: Path) -> None:
    method = {"name": "upscale", "source": f"hf:{given('llama')}"}
    with pytest.raises(UserError, match=r"the source's family is llama, and growth keeps it; set model.family=llama"):
        tiny("gpt2", tmp_path / "run", method=method)
