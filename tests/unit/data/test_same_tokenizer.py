"""The tokenizer of a saved model is the text's, however the text was prepared with it, or what differs is told."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from corpora import write_text
from given_tokenizers import GIVEN, save
from manifests import manifest_of
from rich.console import Console
from saved_models import own_config
from texts import make_texts
from tokenizers import Tokenizer, normalizers
from transformers import AutoTokenizer

from apollo_ds.data.corpus import Corpus
from apollo_ds.data.same_tokenizer import check_same_tokenizer
from apollo_ds.errors import UserError
from apollo_ds.models.families import FAMILIES
from apollo_ds.models.shape import ModelShape
from data_prep import files, given_tokenizer, sources, tokenizer
from data_prep.build import build
from data_prep.options import Options

_TEXTS = make_texts(100)
_HUB = {
    "gpt2": ("bpe", "gpt2", {"model_max_length": 1024}),
    "bert": ("wordpiece", "bert", {"do_lower_case": True, "model_max_length": 512}),
}
"""Of models as the hub has them: how their tokenizer is trained, their family, and their tokenizer_config.json."""


def shape_of(family: str) -> ModelShape:
    sizes = {"num_layers": 1, "hidden_size": 8, "num_heads": 2, "intermediate_size": 8, "vocab_size": 1000}
    return FAMILIES[family].shape_class(family=family, **sizes)


def of_the_hub(name: str, folder: Path) -> Path:
    """A folder with config.json, tokenizer.json, the files of before it, and a short tokenizer_config.json."""
    kind, family, settings = _HUB[name]
    tokenizer.train(kind, lambda: iter(_TEXTS), 400, folder)
    model = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model.model.save(str(folder))
    own_config(family).save_pretrained(folder)
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


def text_of(given: str, folder: Path) -> Corpus:
    """A text that was prepared with `--tokenizer GIVEN`, as far as its tokenizer goes."""
    given_tokenizer.load(given, folder / "tokenizer")
    for split in ("train", "validation"):
        (folder / f"{split}.bin").touch()
        (folder / f"{split}.idx").touch()
    facts = vars(tokenizer.facts(folder / "tokenizer", given))
    described = {path.name: files.describe(path) for path in (folder / "tokenizer").iterdir()}
    return Corpus(folder, manifest_of(folder, **facts, files=described))


@pytest.mark.parametrize("name", GIVEN)
def test_text_that_was_prepared_with_a_saved_tokenizer_has_it(name: str, tmp_path: Path) -> None:
    folder = save(name, _TEXTS, tmp_path / "model")
    check_same_tokenizer(folder, shape_of("gpt2"), text_of(str(folder), tmp_path / "text"))


@pytest.mark.parametrize("without", [(), ("tokenizer.json",), ("vocab.json", "vocab.txt", "merges.txt")], ids=str)
@pytest.mark.parametrize("name", _HUB)
def test_text_that_was_prepared_with_one_of_the_hub_has_it(name: str, without: tuple[str, ...], tmp_path: Path) -> None:
    folder = of_the_hub(name, tmp_path / "model")
    for file in without:
        (folder / file).unlink(missing_ok=True)
    check_same_tokenizer(folder, shape_of(name), text_of(str(folder), tmp_path / "text"))


def test_text_that_was_prepared_with_its_vocabulary_has_it(tmp_path: Path) -> None:
    folder = of_the_hub("bert", tmp_path / "model")
    check_same_tokenizer(folder, shape_of("bert"), text_of(str(folder / "vocab.txt"), tmp_path / "text"))


@pytest.mark.parametrize("name", [*_HUB, "BPE that ignores merges"])
def test_built_text_has_the_tokenizer_that_was_given(name: str, tmp_path: Path) -> None:
    folder = of_the_hub(name, tmp_path / "model") if name in _HUB else save(name, _TEXTS, tmp_path / "model")
    write_text(tmp_path / "text.jsonl")
    options = Options(
        sources=sources.parse([str(tmp_path / "text.jsonl")]), tokenizer=str(folder), validation_fraction=0.1
    )
    build(options, tmp_path / "text", workers=1, console=Console(quiet=True))
    check_same_tokenizer(folder, shape_of(name if name in _HUB else "llama"), Corpus.open(tmp_path / "text"))


def test_a_model_may_tell_the_hash_of_its_tokenizer(tmp_path: Path) -> None:
    text = text_of(str(of_the_hub("gpt2", tmp_path / "model")), tmp_path / "text")
    other = save("cased WordPiece", _TEXTS, tmp_path / "other")
    check_same_tokenizer(other, shape_of("gpt2"), text, recorded=text.tokenizer_hash)
    with pytest.raises(UserError):
        check_same_tokenizer(other, shape_of("gpt2"), text, recorded="0" * 64)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Corpus]:
    """The folder of a tokenizer, and a text that was prepared with it."""
    place = tmp_path_factory.mktemp("prepared")
    folder = save("byte-level BPE with a prefix space", _TEXTS, place / "model")
    return folder, text_of(str(folder), place / "text")


def change(folder: Path, key: str, by: Callable[[Any], Any]) -> None:
    """Change a part of a folder's tokenizer.json."""
    path = folder / "tokenizer.json"
    settings = json.loads(path.read_text())
    *inside, last = key.split(".")
    part = settings
    for name in inside:
        part = part[name]
    part[last] = by(part[last])
    path.write_text(json.dumps(settings))


def swapped(vocabulary: dict[str, int]) -> dict[str, int]:
    first, second = sorted(vocabulary)[100:102]
    return {**vocabulary, first: vocabulary[second], second: vocabulary[first]}


_ADDED = r"has 1 token with another id, such as 'zebra' \(9000, not none\),"
_LOWER = json.loads(normalizers.Lowercase().__getstate__())


@pytest.mark.parametrize(
    ("key", "by", "told"),
    [
        ("normalizer", lambda _: _LOWER, "has another normalizer"),
        ("pre_tokenizer.add_prefix_space", lambda _: False, "has another pre_tokenizer"),
        ("added_tokens", lambda tokens: [{**tokens[0], "lstrip": True}, *tokens[1:]], "has another added_tokens"),
        ("model.merges", lambda merges: merges[::-1], "has another model.merges"),
        ("model.vocab", swapped, r"has 2 tokens with another id, such as '.+' \(\d+, not \d+\),"),
        ("model.vocab", lambda ids: {**ids, "zebra": 9000}, _ADDED),
    ],
)
def test_what_differs_is_told(
    key: str, by: Callable[[Any], Any], told: str, prepared: tuple[Path, Corpus], tmp_path: Path
) -> None:
    given, text = prepared
    folder = Path(shutil.copytree(given, tmp_path / "model"))
    change(folder, key, by)
    rest = f"than that of {text.tokenizer_folder}; prepare the text with the model's: `apollo-prep build --tokenizer "
    with pytest.raises(UserError, match=f"^{folder}: its tokenizer {told} {re.escape(rest)}{folder}`$"):
        check_same_tokenizer(folder, shape_of("gpt2"), text)


def test_what_only_pads_or_adds_tokens_may_differ(prepared: tuple[Path, Corpus], tmp_path: Path) -> None:
    given, text = prepared
    folder = Path(shutil.copytree(given, tmp_path / "model"))
    change(folder, "post_processor", lambda _: None)
    check_same_tokenizer(folder, shape_of("gpt2"), text)


@pytest.mark.parametrize("token", ["cls", "mask"])
def test_another_special_token_is_refused_for_a_masked_model(token: str, tmp_path: Path) -> None:
    folder = save("cased WordPiece", _TEXTS, tmp_path / "model")
    text = text_of(str(folder), tmp_path / "text")
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, f"{token}_token": "[PAD]"}))
    check_same_tokenizer(folder, shape_of("gpt2"), text)
    own = {"cls": text.cls_token, "mask": text.mask_token}[token]
    sentence = (
        f"{folder}: the id of its {token}_token is 0, and {own} in {text.folder}; prepare the text with the model's "
        f"tokenizer: `apollo-prep build --tokenizer {folder}`"
    )
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        check_same_tokenizer(folder, shape_of("bert"), text)


def test_a_folder_without_a_tokenizer_is_refused(prepared: tuple[Path, Corpus], tmp_path: Path) -> None:
    folder, text = tmp_path, prepared[1]
    own_config("gpt2").save_pretrained(folder)
    sentence = f"{folder}: holds no tokenizer; save the model's own there, with its tokenizer.json"
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        check_same_tokenizer(folder, shape_of("gpt2"), text)


def test_a_tokenizer_of_another_library_is_refused(prepared: tuple[Path, Corpus], tmp_path: Path) -> None:
    (tmp_path / "vocab.json").write_text(json.dumps({"<unk>": 0, "a</w>": 1, "b": 2}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\n\n")
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "CTRLTokenizer"}')
    sentence = f"{tmp_path}: its tokenizer is not one of the tokenizers library; save it with a tokenizer.json"
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        check_same_tokenizer(tmp_path, shape_of("gpt2"), prepared[1])


def test_damage_in_the_text_s_tokenizer_is_told(tmp_path: Path) -> None:
    folder = save("byte-level BPE", _TEXTS, tmp_path / "model")
    text = text_of(str(folder), tmp_path / "text")
    shutil.copy(folder / "tokenizer_config.json", text.tokenizer_folder / "tokenizer.json")
    with pytest.raises(UserError, match=r"^data: .*tokenizer\.json: missing or not these shards' tokenizer"):
        check_same_tokenizer(folder, shape_of("gpt2"), text)


def test_the_tokenizer_of_the_hub_s_folder_is_gpt2_s(tmp_path: Path) -> None:
    assert type(AutoTokenizer.from_pretrained(of_the_hub("gpt2", tmp_path))).__name__.startswith("GPT2Tokenizer")
