"""Randomly initialised models as runs export them, small enough to train in a second, and data that they can learn."""

import random
from functools import cache
from pathlib import Path
from shutil import copy
from tempfile import mkdtemp
from typing import Any

from corpora import corpus
from safetensors.torch import load_file, save_file
from small_models import build
from transformers import AutoTokenizer
from transformers.utils.logging import disable_progress_bar

from apollo_ds.models.families import FAMILIES

POSITIONS = 48


@cache
def exported(family: str) -> Path:
    """A folder with a model of two layers and its tokenizer."""
    prepared = corpus(family)
    values: dict[str, Any] = {"num_layers": 2, "hidden_size": 32, "num_heads": 2, "intermediate_size": 64}
    shape = FAMILIES[family].shape_class(
        family=family, vocab_size=prepared.vocab_size, max_position_embeddings=POSITIONS, **values
    )
    disable_progress_bar()
    folder = Path(mkdtemp(prefix="apollo-ds-model-"))
    trained, of = build(shape, 2, seed=0).model, FAMILIES[family]
    model = of.model_class()(of.exported_config(shape, prepared.manifest.tokenizer.pad))
    weights = {name: of.exported_weight(name, weight, model.config) for name, weight in trained.state_dict().items()}
    model.load_state_dict(weights)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(prepared.tokenizer_folder).save_pretrained(folder)
    return folder


def diverged(family: str, folder: Path) -> Path:
    """A folder with such a model, one of whose weights is not a number."""
    folder.mkdir(exist_ok=True)
    for path in exported(family).iterdir():
        copy(path, folder)
    weights = load_file(folder / "model.safetensors")
    next(weight for weight in weights.values() if weight.ndim == 2)[:, 0] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def write_separable(folder: Path, train: int = 96, dev: int = 40) -> Path:
    """Sentences whose label tells whether a cat or a dog is in them, as train.tsv and dev.tsv."""
    words = random.Random(0)
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in (("train", train), ("dev", dev)):
        lines = ["sentence\tlabel"]
        for number in range(count):
            others = words.choices(["sees", "hears", "likes", "today", "often", "bird"], k=words.randint(1, 9))
            others.insert(words.randint(0, len(others)), ("cat", "dog")[number % 2])
            lines.append(f"{' '.join(others)}\t{number % 2}")
        (folder / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return folder
