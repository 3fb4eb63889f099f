"""The manifest of shards that a test has written itself."""

from pathlib import Path
from typing import Any

from data_prep import files
from data_prep.manifest import FORMAT, Manifest


def manifest_of(folder: Path, **of_tokenizer: Any) -> Manifest:
    """The manifest of the two splits in a folder, and of a tokenizer of which nothing but these facts is real."""
    nothing = dict.fromkeys(("cls", "mask", "pad"))
    facts = {"kind": "wordpiece", "vocab_size": 100_000, "end_of_document": 0, "special": [0], **nothing}
    path = folder / "tokenizer" / "tokenizer.json"
    path.parent.mkdir(exist_ok=True)
    path.touch()
    tokenizer = {"path": "tokenizer", "sha256": files.sha256(path), "files": {path.name: files.describe(path)}, **facts}
    names = {split: (f"{split}.bin", f"{split}.idx") for split in ("train", "validation")}
    splits = {
        split: {"documents": 1, "tokens": 1, "files": {name: files.describe(folder / name) for name in of_split}}
        for split, of_split in names.items()
    }
    values = {"format": FORMAT, "tokenizer": {**tokenizer, **of_tokenizer}, "sources": [], "splits": splits}
    return Manifest.model_validate({**values, "unigram_entropy": 1.0, "options": {}})
