"""An export computes what training computed, and each of its files says the same of it."""

import json
import logging
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from exports import POSITIONS, WORDS, bpe, text_of, trained, wordpiece, write_export
from growths import logits
from project import PROJECT
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoTokenizer, pipeline
from transformers.generation import GenerationConfig

from apollo_ds.checkpoint.export_manifest import read_export_manifest
from apollo_ds.models.depth_scale import PositionScales
from apollo_ds.models.families import FAMILIES, family_of
from apollo_ds.saved_models.positions import counts_positions_from_padding, most_tokens

MASKED = [name for name, family in FAMILIES.items() if family.is_masked]
CAUSAL = [name for name, family in FAMILIES.items() if not family.is_masked]
LONG = " ".join(WORDS * 20)


def loaded(folder: Path) -> Any:
    """The model and its tokenizer, as a user loads them."""
    is_masked = "MaskedLM" in AutoConfig.from_pretrained(folder).architectures[0]
    auto_class = AutoModelForMaskedLM if is_masked else AutoModelForCausalLM
    return auto_class.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("pad", [0, 5, None])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_exported_model_computes_what_training_did(family: str, pad: int | None, tmp_path: Path) -> None:
    text = text_of(wordpiece(pad), tmp_path / "text")
    model = trained(family, text.vocab_size)
    exported, _ = loaded(write_export(model, text, tmp_path))
    tokens = [token for token in range(text.vocab_size) if token != pad]
    ids = torch.tensor([(2 * tokens)[:POSITIONS]])
    with torch.no_grad():
        assert torch.allclose(exported(input_ids=ids).logits, logits(model, ids), atol=1e-6)
    assert most_tokens(exported.config, counts_positions_from_padding(exported.config)) == POSITIONS


SCALES: dict[str, dict[str, Any]] = {
    "depth_sqrt": {"residual_scale": "depth_sqrt"},
    "complete_p": {"residual_scale": "complete_p", "complete_p_alpha": 0.75},
    "layernorm_scale": {"layernorm_scale": True},
    "both": {"residual_scale": "complete_p", "layernorm_scale": True},
}


@pytest.mark.parametrize("risen", [(), (1.0, 0.75, 0.5, 0.0)])
@pytest.mark.parametrize("scales", ["none", *SCALES])
@pytest.mark.parametrize("family", FAMILIES)
def test_an_export_computes_the_same_without_the_scales(
    family: str, scales: str, risen: tuple[float, ...], tmp_path: Path
) -> None:
    keys = SCALES.get(scales, {})
    if "layernorm_scale" in keys and not FAMILIES[family].is_pre_norm:
        pytest.skip("has no normalisation that branches read")
    text = text_of(wordpiece(), tmp_path / "text")
    model = trained(family, text.vocab_size, **keys)
    model.scale_branches()
    model.run_in_order(model.layers.order, risen=risen)
    exported, _ = loaded(write_export(model, text, tmp_path, risen))
    ids = torch.tensor([(2 * list(range(1, text.vocab_size)))[:POSITIONS]])
    with torch.no_grad():
        trained_logits = logits(model, ids)
        assert torch.allclose(exported(input_ids=ids).logits, trained_logits, atol=1e-5)
        if scales != "none" or risen:
            model.layers.position_scales = (PositionScales(),) * 4
            assert not torch.allclose(logits(model, ids), trained_logits, atol=1e-4), "as without scales"


@pytest.mark.parametrize("pad", [0, 5])
@pytest.mark.parametrize("family", MASKED)
def test_padding_changes_nothing(family: str, pad: int, tmp_path: Path) -> None:
    text = text_of(wordpiece(pad), tmp_path / "text")
    model, tokenizer = loaded(write_export(trained(family, text.vocab_size), text, tmp_path))
    short, padded = tokenizer(["the cat"], return_tensors="pt"), tokenizer(["the cat", LONG], **batch())
    with torch.no_grad():
        assert torch.allclose(model(**padded).logits[0, :4], model(**short).logits[0], atol=1e-6)


def batch() -> dict[str, Any]:
    return {"padding": True, "truncation": True, "return_tensors": "pt"}


@pytest.mark.parametrize(
    ("family", "kind"), [*((name, wordpiece) for name in FAMILIES), *((name, bpe) for name in CAUSAL)]
)
def test_every_file_says_the_same(family: str, kind: Any, tmp_path: Path) -> None:
    text = text_of(kind(), tmp_path / "text")
    folder = write_export(trained(family, text.vocab_size), text, tmp_path)
    model, tokenizer = loaded(folder)
    config = json.loads((folder / "config.json").read_text())
    assert config["architectures"] == [family_of(trained(family, 9).shape).model_class().__name__]
    assert config["dtype"] == "float32" == str(model.dtype).removeprefix("torch.")
    assert model.config.num_hidden_layers == len(model.get_submodule(FAMILIES[family].blocks)) == 4
    assert tokenizer.model_max_length == POSITIONS
    assert len(tokenizer) == model.config.vocab_size == model.get_input_embeddings().num_embeddings
    ids = {name: getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    saying = [model.config]
    if (folder / "generation_config.json").exists():
        saying.append(GenerationConfig.from_pretrained(folder))
    for says in saying:
        assert {name: getattr(says, f"{name}_token_id") for name in ids} == ids
    assert (len(saying) > 1) == (family in CAUSAL)
    assert tokenizer.backend_tokenizer.get_vocab_size() == text.vocab_size
    has_types = getattr(model.config, "type_vocab_size", 0) > 1
    assert ("token_type_ids" in tokenizer("the", "cat")) == has_types
    if family in CAUSAL:
        assert tokenizer.eos_token_id == text.manifest.tokenizer.end_of_document
        assert tokenizer("the cat")["input_ids"] == tokenizer("the cat", add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("kind", [wordpiece, bpe])
@pytest.mark.parametrize("family", CAUSAL)
def test_text_is_generated_without_a_warning(
    family: str, kind: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = text_of(kind(), tmp_path / "text")
    trained_model = trained(family, text.vocab_size)
    folder = write_export(trained_model, text, tmp_path)
    monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model, tokenizer = loaded(folder)
        inputs = tokenizer(["the", "the cat sees"], padding=True, return_tensors="pt")
        made = model.generate(**inputs, do_sample=False)
        assert model(**tokenizer(LONG, truncation=True, return_tensors="pt")).logits.shape[1] == POSITIONS
        pipe = pipeline("text-generation", model=model, tokenizer=tokenizer)
        assert pipe("the cat", do_sample=False)[0]["generated_text"].startswith("the cat")
        assert made.shape[1] <= POSITIONS
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    ids = tokenizer("the", return_tensors="pt")["input_ids"]
    first = int(logits(trained_model, ids)[0, -1].argmax())
    assert made[0, inputs["input_ids"].shape[1]] == first  # the padding on the left moves nothing


@pytest.mark.parametrize("kind", [wordpiece, bpe])
@pytest.mark.parametrize("family", CAUSAL)
def test_a_batch_is_continued_as_each_prompt_alone(family: str, kind: Any, tmp_path: Path) -> None:
    text = text_of(kind(), tmp_path / "text")
    model, tokenizer = loaded(write_export(trained(family, text.vocab_size), text, tmp_path))
    prompts = ["the", "the cat sees today"] if kind is wordpiece else ["t", "thecat"]
    inputs = tokenizer(prompts, padding=True, return_tensors="pt")
    length = inputs["input_ids"].shape[1]
    together = model.generate(**inputs, max_new_tokens=8, do_sample=False)[:, length:]
    for prompt, made in zip(prompts, together, strict=True):
        alone = tokenizer(prompt, return_tensors="pt")
        own = model.generate(**alone, max_new_tokens=8, do_sample=False)[0, alone["input_ids"].shape[1] :]
        assert made[: len(own)].tolist() == own.tolist()
        assert set(made[len(own) :].tolist()) <= {tokenizer.pad_token_id}, "what has ended is padded"


@pytest.mark.parametrize("family", CAUSAL)
def test_the_end_of_a_longer_prompt_is_continued(family: str, tmp_path: Path) -> None:
    text = text_of(wordpiece(), tmp_path / "text")
    model, tokenizer = loaded(write_export(trained(family, text.vocab_size), text, tmp_path))
    pipe = pipeline("text-generation", model=model, tokenizer=tokenizer)
    cut = {"handle_long_generation": "hole", "max_new_tokens": 5, "do_sample": False, "return_full_text": False}
    end = tokenizer.decode(tokenizer(LONG)["input_ids"][5 - POSITIONS :])
    assert pipe(LONG, **cut) == pipe(end, max_new_tokens=5, do_sample=False, return_full_text=False)
    with pytest.raises(ValueError, match="max_length"):  # and no IndexError
        pipe(LONG)


def test_the_page_s_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = text_of(bpe(), tmp_path / "text")
    write_export(trained("gpt2", text.vocab_size, max_position_embeddings=64), text, tmp_path / "models")
    (tmp_path / "models" / "model").rename(tmp_path / "models" / "mine")
    (example,) = re.findall(r"```python\n(.*?)```", (PROJECT / "docs/guides/export.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(example, {})
    assert len(capsys.readouterr().out.splitlines()) >= 2


def test_a_model_with_room_for_a_pipeline_s_tokens_has_no_bound(tmp_path: Path) -> None:
    """It would be told of at each `max_new_tokens`."""
    text = text_of(wordpiece(), tmp_path / "text")
    model = trained("llama", text.vocab_size, max_position_embeddings=1024)
    assert loaded(write_export(model, text, tmp_path))[0].generation_config.max_length is None


@pytest.mark.parametrize("family", MASKED)
def test_masks_are_filled(family: str, tmp_path: Path) -> None:
    text = text_of(wordpiece(), tmp_path / "text")
    model, tokenizer = loaded(write_export(trained(family, text.vocab_size), text, tmp_path))
    fill = pipeline("fill-mask", model=model, tokenizer=tokenizer)
    assert len(fill("the [MASK] sees", top_k=3)) == 3
    assert len(fill(f"the [MASK] {LONG}", top_k=2, tokenizer_kwargs={"truncation": True})) == 2
    assert model(**tokenizer(LONG, truncation=True, return_tensors="pt")).logits.shape[1] == POSITIONS


def test_a_foreign_manifest_is_no_export_s(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "a web page"}')
    assert read_export_manifest(tmp_path) is None
