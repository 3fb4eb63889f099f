"""What `plan` and `train` look at before anything starts."""

import os
import shutil
from pathlib import Path

import pytest
from corpora import corpus
from recipes import tiny

from apollo_ds.config.ready import check_ready
from apollo_ds.errors import UserError


@pytest.mark.parametrize("name", ["train.bin", "validation.idx", "tokenizer/tokenizer.json"])
@pytest.mark.parametrize("harm", [lambda path: os.truncate(path, 10), os.unlink])
def test_a_text_of_which_a_file_is_cut_or_gone_is_refused(name: str, harm: object, tmp_path: Path) -> None:
    data = shutil.copytree(corpus("bert").folder, tmp_path / "data")
    recipe = tiny("bert", tmp_path / "run", data=str(data))
    check_ready(recipe, 2)
    assert callable(harm)
    harm(data / name)
    with pytest.raises(UserError, match=rf"^data: {data / name}: missing or damaged: restore it, or remove {data} and"):
        check_ready(recipe, 2)


def test_compiled_layers_need_a_compiler_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DS_ACCELERATOR", "cpu")
    recipe = tiny("bert", tmp_path / "run", compile_blocks=True)
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        UserError, match=r"^compile_blocks: needs a C\+\+ compiler on a CPU, and there is none; install"
    ):
        check_ready(recipe, 2)
    monkeypatch.setenv("CXX", "true")
    check_ready(recipe, 2)
    monkeypatch.setenv("CXX", "no-such-compiler")
    check_ready(tiny("bert", tmp_path / "run"), 2)


def test_pooled_tokens_belong_to_one_document(tmp_path: Path) -> None:
    method = {"name": "compound_grow", "stage_list": [{"fraction": 0.5, "pool": 2}, {"fraction": 0.5}]}
    check_ready(tiny("bert", tmp_path / "run", method=method), 2)
    with pytest.raises(
        UserError, match=r"^document_mask: stage 1 pools 2 tokens, which may belong to two documents; u"
    ):
        check_ready(tiny("bert", tmp_path / "run", method=method, document_mask=True), 2)


def test_ranks_share_what_the_layers_see(tmp_path: Path) -> None:
    method = {"name": "compound_grow", "stage_list": [{"fraction": 0.5, "pool": 32}, {"fraction": 0.5}]}
    with pytest.raises(UserError, match=r"sequence_parallel: 2 ranks cannot share the 1 tokens of stage 1 equally"):
        tiny("bert", tmp_path / "run", method=method, sequence_parallel=2)
