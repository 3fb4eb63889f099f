"""A tokenizer that is loaded and saved again says nothing of how it was loaded."""

from pathlib import Path

import pytest
from exports import bpe, wordpiece
from huggingface_hub import constants
from transformers import PreTrainedTokenizerBase

from apollo_ds.data.saved_tokenizer import load_tokenizer


@pytest.mark.parametrize("tokenizer", [bpe(), wordpiece()])
def test_it_is_saved_alike_where_the_hub_may_be_asked_and_where_not(
    tokenizer: PreTrainedTokenizerBase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokenizer.save_pretrained(tmp_path / "given")
    for is_offline in (True, False):
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", is_offline)
        load_tokenizer(tmp_path / "given").save_pretrained(tmp_path / str(is_offline))
    files = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("True", "False")]
    assert files[0] == files[1]
