"""Tokenizers are the same whichever process trains them."""

import subprocess
import sys
from pathlib import Path

import pytest
from project import PROJECT

from data_prep import files

TRAIN = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from texts import make_texts
from data_prep import tokenizer
tokenizer.train(sys.argv[2], lambda: iter(make_texts(200)), 1000, Path(sys.argv[3]))
"""


@pytest.mark.parametrize("kind", ["wordpiece", "bpe"])
def test_another_process_trains_the_same(kind: str, tokenizers: dict[str, Path], tmp_path: Path) -> None:
    support = PROJECT / "tests" / "support"
    subprocess.run([sys.executable, "-c", TRAIN, support, kind, tmp_path], check=True)
    assert files.sha256(tmp_path / "tokenizer.json") == files.sha256(tokenizers[kind] / "tokenizer.json")
