"""The weights of a saved model are in training what they are in `transformers`."""

import json
import re
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from families import batch_of
from growths import logits
from safetensors.torch import load_file, save_file
from saved_models import made, saved
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, AutoModelForMaskedLM, GPT2Model

from apollo_ds.checkpoint.hf_state import HfState
from apollo_ds.config.source_model import read_model
from apollo_ds.errors import UserError
from apollo_ds.growth.counters import COHORT, MOMENTS, WEIGHT, Counters
from apollo_ds.models.families import FAMILIES
from apollo_ds.models.pretraining import PretrainingModel, build

every_family = pytest.mark.parametrize("family", FAMILIES)
_CPU = torch.device("cpu")


def state_of(folder: Path) -> HfState:
    return HfState.open(read_model(str(folder)))


def trained_from(folder: Path) -> PretrainingModel:
    """The model that training would begin with."""
    source, state = read_model(str(folder)), state_of(folder)
    model = build(source.shape, source.shape.num_layers, _CPU).eval()
    assert [name for name, _ in model.named_parameters()] == list(state.names())
    for name, parameter in model.named_parameters():
        assert state.shape(name) == parameter.shape
        parameter.data.copy_(state.gather(name, WEIGHT, _CPU))
    state.close()
    return model


def by_transformers(folder: Path, family: str) -> Any:
    auto = AutoModelForMaskedLM if FAMILIES[family].is_masked else AutoModelForCausalLM
    return auto.from_pretrained(folder, dtype=torch.float32).eval()


def check_same(folder: Path, family: str, pad: int) -> None:
    """Check that logits and loss are those of the model that `transformers` loads."""
    model, expected = trained_from(folder), by_transformers(folder, family)
    ids, positions, labels = batch_of(model.shape)
    ids = torch.where(ids == pad, pad + 1, ids)  # the class takes it for padding
    with torch.no_grad():
        wanted = expected(input_ids=ids).logits
        torch.testing.assert_close(logits(model, ids), wanted, rtol=1e-5, atol=1e-5)
        scored = wanted.gather(1, positions[..., None].expand(-1, -1, wanted.shape[-1]))
        loss = cross_entropy(scored.flatten(0, 1), labels.flatten())
        torch.testing.assert_close(model(ids, positions, labels), loss, rtol=1e-5, atol=1e-5)


@every_family
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_it_computes_the_same(family: str, dtype: torch.dtype, tmp_path: Path) -> None:
    check_same(saved(tmp_path, family, dtype=dtype), family, pad=3 if family.startswith("roberta") else 1)


@every_family
def test_it_computes_the_same_from_parts(family: str, tmp_path: Path) -> None:
    saved(tmp_path, family, shard_size="2KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    check_same(tmp_path, family, pad=3 if family.startswith("roberta") else 1)


@pytest.mark.parametrize("is_tied", [True, False])
@pytest.mark.parametrize("family", ["llama", "qwen3", "gpt_neox"])
def test_the_head_may_be_tied(family: str, is_tied: bool, tmp_path: Path) -> None:
    saved(tmp_path, family, tie_word_embeddings=is_tied)
    assert ("model.lm_head.weight" in state_of(tmp_path).names()) != is_tied
    check_same(tmp_path, family, pad=1)


@pytest.mark.parametrize("pad", [0, 1, 9])
def test_positions_stand_behind_the_padding_token_s(pad: int, tmp_path: Path) -> None:
    saved(tmp_path, "roberta_prelayernorm", pad_token_id=pad, max_position_embeddings=11 + pad)
    assert read_model(str(tmp_path)).shape.max_position_embeddings == 10
    check_same(tmp_path, "roberta_prelayernorm", pad)


def test_positions_may_begin_with_the_file(tmp_path: Path) -> None:
    saved(tmp_path, "roberta_prelayernorm")
    _change_config(tmp_path, pad_token_id=-1, max_position_embeddings=14)
    name = "model.roberta_prelayernorm.embeddings.position_embeddings.weight"
    state = state_of(tmp_path)
    rows = load_file(tmp_path / "model.safetensors")[name.removeprefix("model.")]
    found = state.gather(name, WEIGHT, _CPU)
    assert torch.equal(found, torch.cat([torch.zeros(1, 8), rows]))
    check_parts(state, name, found)


def test_a_model_that_was_saved_without_its_head(tmp_path: Path) -> None:
    model = made("gpt2")
    GPT2Model.save_pretrained(model.transformer, tmp_path)
    assert "wte.weight" in load_file(tmp_path / "model.safetensors")
    _change_config(tmp_path, architectures=["GPT2LMHeadModel"])
    check_same(tmp_path, "gpt2", pad=3)


@pytest.mark.parametrize("family", ["bert", "roberta_prelayernorm"])
def test_names_of_before(family: str, tmp_path: Path) -> None:
    saved(tmp_path, family)
    path = tmp_path / "model.safetensors"
    older = {
        name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): weight
        for name, weight in load_file(path).items()
    }
    assert any(name.endswith("gamma") for name in older)
    save_file(older, path, {"format": "pt"})
    check_same(tmp_path, family, pad=3 if family.startswith("roberta") else 1)


def check_parts(state: HfState, name: str, whole: Tensor) -> None:
    flat, size = whole.flatten(), prod(state.shape(name))
    for start in {0, 1, size // 3, size - 1}:
        for length in {0, 1, 7, size - start}:
            part = torch.full((min(length, size - start),), torch.nan)
            state.read_into(name, WEIGHT, start, part)
            assert torch.equal(part, flat[start : start + len(part)]), (name, start, length)


@every_family
@pytest.mark.parametrize("at_once", [5, 1 << 24])
def test_parts_are_slices_of_the_whole(
    family: str, at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = state_of(saved(tmp_path, family, shard_size="2KB", dtype=torch.bfloat16)).hold()
    wholes = {name: state.gather(name, WEIGHT, _CPU) for name in state.names()}
    monkeypatch.setattr("apollo_ds.checkpoint.hf_state._ELEMENTS_AT_ONCE", at_once)
    for name, whole in wholes.items():
        assert whole.dtype == torch.float32
        check_parts(state, name, whole)


def test_nothing_has_been_trained_yet(tmp_path: Path) -> None:
    state = state_of(saved(tmp_path, "gpt2"))
    assert state.counters == Counters(optimizer=None)
    name = next(state.names())
    for moment in MOMENTS:
        assert not state.gather(name, moment, _CPU).any()
    assert state.gather(name, COHORT, _CPU).dtype == torch.uint8
    state.release(name, WEIGHT)
    assert state.gather(name, WEIGHT, _CPU).any()


def test_files_that_are_held_can_be_read_when_they_are_gone(tmp_path: Path) -> None:
    state = state_of(saved(tmp_path, "gpt2")).hold()
    (tmp_path / "model.safetensors").unlink()
    assert state.gather(next(state.names()), WEIGHT, _CPU).any()
    state.close()
    path = re.escape(str(tmp_path / "model.safetensors"))
    with pytest.raises(
        UserError, match=rf"^{path}: cannot be read \(.*\); restore it, and run the same command again$"
    ):
        state.hold()


def _change_config(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))


def test_files_that_have_changed_since_are_refused(tmp_path: Path) -> None:
    source = read_model(str(saved(tmp_path, "gpt2")))
    _change_config(tmp_path, layer_norm_epsilon=1e-3)
    sentence = (
        f"{tmp_path}: its config.json or weights have changed since the run began; restore them, or begin again in "
        "another folder with out=..."
    )
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        HfState.open(source)


def _change_weights(folder: Path, **changes: Tensor | None) -> Path:
    path = folder / "model.safetensors"
    weights = load_file(path)
    for name, weight in changes.items():
        if weight is None:
            del weights[name]
        else:
            weights[name] = weight
    save_file(weights, path, {"format": "pt"})
    return path


def refused(folder: Path, sentence: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        state_of(folder).check_tied()


def test_a_missing_weight(tmp_path: Path) -> None:
    saved(tmp_path, "llama")
    _change_weights(tmp_path, **{"lm_head.weight": None, "model.norm.weight": None})
    refused(tmp_path, f"{tmp_path}: lacks 2 of its weights, such as model.norm.weight; save it as LlamaForCausalLM")


def test_a_weight_of_another_shape(tmp_path: Path) -> None:
    path = _change_weights(saved(tmp_path, "llama"), **{"model.norm.weight": torch.ones(9)})
    refused(
        tmp_path,
        f"{path}: model.norm.weight has the shape (9,), and by config.json it is (8,); save the model again",
    )


def test_a_weight_in_another_format(tmp_path: Path) -> None:
    path = _change_weights(saved(tmp_path, "llama"), **{"model.norm.weight": torch.ones(8, dtype=torch.int8)})
    refused(tmp_path, f"{path}: model.norm.weight is in I8, and F32, BF16, F16 are read; save the model in one")


@pytest.mark.parametrize("family", ["llama", "gpt2", "bert"])
def test_a_tied_head_that_differs(family: str, tmp_path: Path) -> None:
    saved(tmp_path, family, tie_word_embeddings=True)
    words = made(family, tie_word_embeddings=True).get_input_embeddings().weight.detach()
    embedding = {"llama": "model.embed_tokens", "gpt2": "transformer.wte", "bert": "bert.embeddings.word_embeddings"}
    head = {"llama": "lm_head", "gpt2": "lm_head", "bert": "cls.predictions.decoder"}[family]
    _change_weights(tmp_path, **{f"{head}.weight": words.clone()})
    state_of(tmp_path).check_tied()
    _change_weights(tmp_path, **{f"{head}.weight": words + 0.1})
    refused(
        tmp_path,
        f"{tmp_path}: {head}.weight differs from {embedding[family]}.weight, and config.json says that they are tied; "
        "set tie_word_embeddings to false there if the family has it, or save the model again with one",
    )


@pytest.mark.parametrize("name", ["model.layers.4.mlp.up_proj.weight", "model.layers.0.self_attn.q_proj.bias"])
def test_a_weight_that_the_configuration_does_not_know(name: str, tmp_path: Path) -> None:
    _change_weights(saved(tmp_path, "llama"), **{name: torch.ones(8)})
    refused(
        tmp_path,
        f"{tmp_path}: has 1 weights, such as {name}, that the LlamaForCausalLM of its config.json lacks, and they "
        "would be lost; save the model that has them, or remove them",
    )


def test_what_older_versions_saved_beside_the_weights(tmp_path: Path) -> None:
    saved(tmp_path, "gpt2")
    _change_weights(tmp_path, **{"transformer.h.0.attn.bias": torch.ones(1), "score.weight": torch.ones(2, 8)})
    assert state_of(tmp_path).hold()


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_weight_that_is_no_number(number: float, tmp_path: Path) -> None:
    path = _change_weights(saved(tmp_path, "llama"), **{"model.norm.weight": torch.tensor([1.0] * 7 + [number])})
    with pytest.raises(UserError, match=rf"^{path}: model\.norm\.weight holds NaN or infinite numbers; use a checkp"):
        state_of(path.parent).check_finite()
