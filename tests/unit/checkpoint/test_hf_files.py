"""The files of a saved model: what is found, and what is refused of missing, damaged and unsafe ones."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from saved_models import saved

from apollo_ds.checkpoint.hf_files import HfFiles
from apollo_ds.errors import UserError

_INDEX = "model.safetensors.index.json"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("whole"), "bert")


@pytest.fixture(scope="module")
def sharded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("sharded"), "bert", shard_size="4KB")


def refused(folder: Path, sentence: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(sentence)}$"):
        HfFiles.read(folder)


def test_parts_have_what_one_file_has(whole: Path, sharded: Path) -> None:
    one, many = HfFiles.read(whole), HfFiles.read(sharded)
    assert len(list(sharded.glob("*.safetensors"))) > 2
    assert {n: (t.dtype, t.shape) for n, t in one.tensors.items()} == {
        n: (t.dtype, t.shape) for n, t in many.tensors.items()
    }
    assert one.identity != many.identity


def test_the_identity_is_of_the_configuration_and_the_headers(whole: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "copy"))
    assert HfFiles.read(folder).identity == HfFiles.read(whole).identity
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "layer_norm_eps": 1e-5}))
    assert HfFiles.read(folder).identity != HfFiles.read(whole).identity


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (lambda path: path.unlink(), "there is no such file; name a folder that save_pretrained wrote"),
        (lambda path: path.write_text("{"), "is damaged; restore it, or save the model again"),
        (lambda path: path.write_text("[]"), "is damaged; restore it, or save the model again"),
        (
            lambda path: path.write_text('{"quantization_config": {"bits": 4}}'),
            "quantization_config: quantised weights are not trained here; use the plain model",
        ),
    ],
)
def test_a_configuration_that_is_unfit(
    harm: Callable[[Path], None], sentence: str, whole: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "copy"))
    harm(folder / "config.json")
    refused(folder, f"{folder / 'config.json'}: {sentence}")


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\x02" + bytes(7) + b"[]", b"\x09" + bytes(7) + b'{"a": {}}'])
def test_weights_without_a_sound_header(content: bytes, whole: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "copy"))
    path = folder / "model.safetensors"
    path.write_bytes(content)
    refused(folder, f"{path}: is damaged or cut short; restore it, or save the model again")


def test_weights_that_are_cut_short(whole: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "copy"))
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    refused(folder, f"{path}: is damaged or cut short; restore it, or save the model again")


def test_files_that_cannot_be_read(whole: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "copy"))
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    fix = "name a folder that save_pretrained wrote"
    refused(folder, f"{folder / 'config.json'}: cannot be read: Is a directory; {fix}")


def test_a_missing_part(sharded: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sharded, tmp_path / "copy"))
    path = sorted(folder.glob("*.safetensors"))[1]
    path.unlink()
    refused(folder, f"{path}: is missing, and {_INDEX} names it; restore it, or save the model again")


def test_an_index_that_names_a_tensor_in_the_wrong_part(sharded: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sharded, tmp_path / "copy"))
    index = json.loads((folder / _INDEX).read_text())
    name = "cls.predictions.bias"
    other = next(file for file in index["weight_map"].values() if file != index["weight_map"][name])
    index["weight_map"][name] = other
    (folder / _INDEX).write_text(json.dumps(index))
    refused(
        folder, f"{folder / _INDEX}: says that {name} is in {other}, which has no such tensor; save the model again"
    )


@pytest.mark.parametrize("where", [{}, [], {"a": "../model.safetensors"}, {"a": 1}])
def test_an_index_that_names_no_files_of_the_folder(where: object, sharded: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(sharded, tmp_path / "copy"))
    (folder / _INDEX).write_text(json.dumps({"weight_map": where}))
    refused(folder, f"{folder / _INDEX}: its weight_map does not name files of the folder; save the model again")


def test_a_folder_without_weights(whole: Path, tmp_path: Path) -> None:
    shutil.copy(whole / "config.json", tmp_path)
    refused(
        tmp_path, f"{tmp_path}: holds no model.safetensors; restore it, or save the model again with save_pretrained"
    )


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "last.ckpt"])
def test_a_pickle_is_not_read(name: str, whole: Path, tmp_path: Path) -> None:
    shutil.copy(whole / "config.json", tmp_path)
    torch.save({}, tmp_path / name)
    command = (
        'python -c "from transformers import AutoModelForMaskedLM as M; '
        f"M.from_pretrained('{tmp_path}').save_pretrained('{tmp_path}')\""
    )
    refused(
        tmp_path,
        f"{tmp_path / name}: is a pickle, which runs code when it is read; if you trust it, write a model.safetensors "
        f"beside it: `{command}`",
    )
