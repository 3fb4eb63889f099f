"""Exports of small random models with tokenizers of any kind, without a run."""

import json
from pathlib import Path
from typing import Any

from growths import randomised
from manifests import manifest_of
from safetensors.torch import save_file
from small_checkpoints import values_of
from small_models import build
from transformers import BertTokenizer, GPT2Tokenizer, PreTrainedTokenizerBase

from apollo_ds.checkpoint.export import export
from apollo_ds.checkpoint.find import verify
from apollo_ds.checkpoint.manifest import rank_file
from apollo_ds.checkpoint.saved_state import SavedState
from apollo_ds.data.corpus import Corpus
from apollo_ds.models.families import FAMILIES
from apollo_ds.models.layer_map import placed
from apollo_ds.models.pretraining import PretrainingModel
from apollo_ds.schedule.stage import Stage
from data_prep import files

WORDS = ["the", "cat", "dog", "sees", "hears", "today"]
POSITIONS = 20


def wordpiece(pad: int | None = 0) -> PreTrainedTokenizerBase:
    """Whole words, with the padding token at this id or without one."""
    tokens = ["[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    if pad is not None:
        tokens.insert(pad, "[PAD]")
    tokenizer = BertTokenizer(vocab={token: number for number, token in enumerate(tokens)})
    if pad is None:
        tokenizer.pad_token = None
    return tokenizer


def bpe() -> PreTrainedTokenizerBase:
    """Letters, and a token that ends a text."""
    letters = [*sorted({letter for word in WORDS for letter in word}), "\u0120", "<|endoftext|>"]
    return GPT2Tokenizer(vocab={letter: number for number, letter in enumerate(letters)}, merges=[])


def text_of(tokenizer: PreTrainedTokenizerBase, folder: Path) -> Corpus:
    """A folder of text, as far as an export reads it."""
    tokenizer.save_pretrained(folder / "tokenizer")
    for name in ("train", "validation"):
        (folder / f"{name}.bin").touch()
        (folder / f"{name}.idx").touch()
    ids = {name: getattr(tokenizer, f"{name}_token_id") for name in ("cls", "mask", "pad")}
    end = tokenizer.eos_token_id if tokenizer.sep_token_id is None else tokenizer.sep_token_id
    kind = type(tokenizer.backend_tokenizer.model).__name__.lower()
    facts = {"kind": kind, "vocab_size": len(tokenizer), "end_of_document": end, "special": tokenizer.all_special_ids}
    described = {path.name: files.describe(path) for path in (folder / "tokenizer").iterdir()}
    return Corpus(folder, manifest_of(folder, **facts, **ids, files=described))


def trained(family: str, vocab_size: int, **keys: Any) -> PretrainingModel:
    """A model whose two layers run at four positions, of other sizes or with scales that know the depth by `keys`."""
    sizes = {"hidden_size": 8, "num_heads": 2, "intermediate_size": 12, "max_position_embeddings": POSITIONS, **keys}
    shape = FAMILIES[family].shape_class(family=family, num_layers=4, vocab_size=vocab_size, **sizes)
    model = randomised(build(shape, 2, seed=0)).eval()
    model.run_in_order(placed("interpolate", 2, 4, FAMILIES[family].first_layer_is_unlike))
    return model


def write_export(model: PretrainingModel, text: Corpus, folder: Path, risen: tuple[float, ...] = ()) -> Path:
    """Export a model as a run with it would, with branches risen so far; returns the folder."""
    checkpoint = folder / "step-1"
    checkpoint.mkdir(parents=True)
    weights = {f"{name}/weight": weight.detach().flatten() for name, weight in model.named_parameters()}
    slices = {name: {"shape": list(weight.shape), "start": 0} for name, weight in model.named_parameters()}
    save_file(weights, checkpoint / rank_file(0), {"slices": json.dumps(slices)})
    files.write_hashed(checkpoint / "manifest.json", values_of(checkpoint, 1))
    distribution = (0.0, 0.0, 1.0)
    stage = Stage("apollo", 1, model.shape, model.unique_layers, POSITIONS, depth_distribution=distribution)
    export(SavedState(verify(checkpoint)), stage, text, folder / "model", risen=risen)
    return folder / "model"
