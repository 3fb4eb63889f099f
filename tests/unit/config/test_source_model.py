"""What `hf:` names, and what is told where it names nothing that can be trained."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from exports import bpe, text_of, trained, wordpiece, write_export
from huggingface_hub import constants
from least_recipe import LEAST, complaint
from saved_models import SHAPES, own_config, saved, usual

from apollo_ds.checkpoint.hf_check import check_model
from apollo_ds.config.load import load_recipe, resolve
from apollo_ds.config.source_model import read_model
from apollo_ds.errors import UserError
from apollo_ds.models.families import FAMILIES
from apollo_ds.schedule.source import SourceModel
from data_prep import files


def refused(name: str, sentence: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        read_model(name)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_folder(family: str, tmp_path: Path) -> None:
    source = read_model(str(saved(tmp_path, family)))
    assert source.shape == FAMILIES[family].shape_class(family=family, **{**usual(), **SHAPES[family]})
    assert (source.folder, source.hf, source.tokenizer) == (tmp_path, str(tmp_path), None)
    assert SourceModel(**json.loads(json.dumps(source.model_dump(mode="json")))) == source


def test_a_folder_below_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    saved(tmp_path / "model", "gpt2")
    assert read_model("~/model").folder == tmp_path / "model"


def test_the_export_of_a_run_tells_its_tokenizer(tmp_path: Path) -> None:
    text = text_of(bpe(), tmp_path / "text")
    folder = write_export(trained("gpt2", text.vocab_size), text, tmp_path)
    source = read_model(str(folder))
    assert source.tokenizer == text.tokenizer_hash
    assert check_model(source, text) == []
    _flip_last_byte(folder / "model.safetensors")
    fix = "export the model again, or remove manifest.json if it was changed on purpose"
    with pytest.raises(UserError, match=rf"^{folder}/model\.safetensors: missing or damaged; {fix}$"):
        check_model(source, text)
    (folder / "generation_config.json").write_text("{}")
    refused(str(folder), f"{folder}/generation_config.json: missing or damaged; {fix}")
    (folder / "manifest.json").write_text("{")
    refused(str(folder), f"{folder}/manifest.json: damaged, or of a later version of apollo_ds; {fix}")
    (folder / "manifest.json").unlink()
    assert read_model(str(folder)).tokenizer is None


def _flip_last_byte(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", ["./nowhere", "/no/where", "~/nowhere", "one/two/three"])
def test_a_folder_that_is_not_there(name: str) -> None:
    refused(name, f"hf:{name}: no such folder; name one that save_pretrained wrote, or a model of the hub")


def test_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.touch()
    for name in ("", str(path)):
        refused(name, f"hf:{name}: is no folder; name the one that save_pretrained wrote, or a model of the hub")
    long = "a" * 300
    refused(f"/{long}", f"hf:/{long}: cannot be read: File name too long; name another folder")


def test_an_empty_folder(tmp_path: Path) -> None:
    refused(str(tmp_path), f"{tmp_path}/config.json: there is no such file; name a folder that save_pretrained wrote")


def test_a_run(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").touch()
    refused(str(tmp_path), f"hf:{tmp_path}: is a run of apollo_ds; as a source, name it without hf:")
    own_config("gpt2").save_pretrained(tmp_path / "export")
    refused(
        str(tmp_path),
        f"hf:{tmp_path}: is a run of apollo_ds; as a source, name it without hf:, or its exported model: "
        f"hf:{tmp_path}/export",
    )


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"attention_bias": True},
         "attention_bias is True, and llama is trained here only with False; use another model"),
        ({"model_type": "rwkv"}, "model_type is 'rwkv', and these are trained here: bert, gpt2, gpt_neox, llama, "
         "modernbert, qwen3, roberta-prelayernorm"),
        ({"num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": None},
         "num_heads 3 does not divide hidden_size 8; use a number of heads that does, or another width"),
        ({"num_hidden_layers": 0}, "num_layers: must be at least 1, not 0"),
    ],
)  # fmt: skip
def test_a_model_that_no_family_computes(changes: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    path = saved(tmp_path, "llama") / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    refused(str(tmp_path), f"{path}: {sentence}")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The cache of a machine that has no network."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    yield tmp_path / "hub"


def _cached(hub: Path, name: str) -> Path:
    """The folder of a model in the cache, as the hub's library lays it out."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    place = hub / f"models--{name.replace('/', '--')}"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(commit)
    return place / "snapshots" / commit


@pytest.mark.parametrize("name", ["gpt2", "somebody/gpt2"])
def test_a_model_of_the_hub(name: str, hub: Path) -> None:
    folder = saved(_cached(hub, name), "gpt2")
    source = read_model(name)
    assert (source.hf, source.folder) == (name, folder)
    recipe = resolve({**LEAST, "model": f"hf:{name}", "method": "scratch", "seq_len": 8}, "test")
    assert recipe.model == source.shape


@pytest.mark.parametrize("name", ["gpt2", "somebody/gpt2", "not a name"])
def test_a_model_of_the_hub_that_is_not_here(name: str, hub: Path) -> None:
    del hub
    fix = f"download it where there is a network by `hf download {name} --local-dir FOLDER`, and name hf:FOLDER"
    sentence = rf"^hf:{name}: no such folder, and the hub did not give it \(.+\); {re.escape(fix)}$"
    with pytest.raises(UserError, match=sentence):
        read_model(name)


def test_a_recipe_may_take_the_sizes_of_a_saved_model(recipe_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    own_config("llama").save_pretrained(folder)  # without weights
    shape = FAMILIES["llama"].shape_class(family="llama", **{**usual(), **SHAPES["llama"]})
    words = [f"model=hf:{folder}", "seq_len=8", "method=scratch"]
    assert load_recipe(recipe_file, words).model == shape
    deeper = load_recipe(recipe_file, [*words, "model.num_layers=12", "model.dropout=0.1"])
    assert deeper.model == shape.model_copy(update={"num_layers": 12, "dropout": 0.1})
    assert deeper.plain()["model"]["rope_theta"] == 500.0
    assert resolve(deeper.plain(), "recorded") == deeper
    shutil.rmtree(folder)
    told = "there is no such file; name a folder that save_pretrained wrote"
    folder.mkdir()
    assert complaint(recipe_file, *words) == f"command line: model: {folder}/config.json: {told}"
    assert complaint(recipe_file, words[0], "model.num_layers=2") == (
        f"command line: model: {folder}/config.json: {told}"
    )


@pytest.mark.parametrize(
    ("ends", "is_told"), [(None, False), ("own", False), (["own", 3], False), ([3, 2], True), (3, True), (9999, False)]
)
def test_another_end_of_documents_is_noted(ends: Any, is_told: bool, tmp_path: Path) -> None:
    text = text_of(bpe(), tmp_path / "text")
    folder, own = tmp_path / "model", text.manifest.tokenizer.end_of_document
    saved(folder, "gpt2", vocab_size=text.vocab_size)
    bpe().save_pretrained(folder)
    path = folder / "config.json"
    given = [own if end == "own" else end for end in ends] if isinstance(ends, list) else own if ends == "own" else ends
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": given}))
    told = " or ".join(map(str, given if isinstance(given, list) else [given]))
    note = (
        f"{path}: eos_token_id is {told}, and documents of {text.folder} end with the token {own}, so the model learns "
        f"another end; set eos_token_id={own} there if that is its own"
    )
    assert check_model(read_model(str(folder)), text) == [note] * is_told


def test_the_deep_check_names_the_configuration(tmp_path: Path) -> None:
    text = text_of(bpe(), tmp_path / "text")
    source = read_model(str(saved(tmp_path / "model", "gpt2", vocab_size=text.vocab_size)))
    other = source.model_copy(update={"shape": source.shape.model_copy(update={"norm_epsilon": 0.5})})
    sentence = "layer_norm_epsilon is 1e-05, and gpt2 is trained here only with 0.5; use another model"
    with pytest.raises(UserError, match=f"^{tmp_path}/model/config.json: {re.escape(sentence)}$"):
        check_model(other, text)
    files.write_text(source.folder / "tokenizer.json", "{}")
    with pytest.raises(UserError, match=r"cannot be read as a tokenizer \(.+\); restore it$"):
        check_model(source, text)


@pytest.mark.parametrize(("pad", "is_told"), [("own", False), (3, True)])
def test_padding_that_the_text_has_as_a_token_is_noted(pad: Any, is_told: bool, tmp_path: Path) -> None:
    """It moves positions in transformers, and not in training."""
    text = text_of(wordpiece(), tmp_path / "text")
    given = text.manifest.tokenizer.pad if pad == "own" else pad
    folder = saved(tmp_path / "model", "roberta_prelayernorm", vocab_size=text.vocab_size, pad_token_id=given)
    wordpiece().save_pretrained(folder)
    notes = check_model(read_model(str(folder)), text)
    assert [note.partition(";")[0] for note in notes] == [
        f"{folder}/config.json: pad_token_id is 3, which is not padding in {text.folder}"
    ] * is_told
