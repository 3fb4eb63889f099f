"""The files of a model that `transformers` saved: its config.json, and the places of its tensors.

Only the headers of the weight files are read, as JSON. Nothing here imports torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Self

from apollo_ds.checkpoint.index import read_entries
from apollo_ds.errors import UserError, shown
from apollo_ds.models.families import family_of_config
from data_prep import files
from data_prep.manifest import PlainName

CONFIG = "config.json"
RESTORE_EXPORT = "export the model again, or remove manifest.json if it was changed on purpose"
"""What a user can do if an exported model differs from its manifest."""
_WHOLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLES = (".bin", ".pt", ".pth", ".ckpt")


@dataclass(frozen=True)
class SavedTensor:
    """A tensor as the header of its file describes it."""

    file: PlainName
    dtype: str
    """The number format by its name in safetensors, such as F32 or BF16."""
    shape: tuple[int, ...]
    place: tuple[int, int]
    """The first byte and the byte after the last, counted from the end of the file's header."""


@dataclass(frozen=True)
class HfFiles:
    """What the config.json and the headers of the weight files of a model's folder say."""

    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, SavedTensor]
    """By the name that the saving class of `transformers` gave each tensor."""

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read a folder that `save_pretrained` wrote.

        Raises:
            UserError: a file is missing, damaged or not supported, or the weights are only there as pickles.
        """
        config = read_config(folder)
        return cls(folder, config, _tensors(folder, config))

    @cached_property
    def identity(self) -> str:
        """A hash of the configuration and of the names, formats, shapes and places of the tensors."""
        tensors = {name: [t.file, t.dtype, t.shape, t.place] for name, t in self.tensors.items()}
        return files.hash_of_values({"config": self.config, "tensors": tensors})


def read_config(folder: Path) -> dict[str, Any]:
    """Read the values of a folder's config.json.

    Raises:
        UserError: there is none, it is damaged, or it says that the weights are quantised.
    """
    path = folder / CONFIG
    values = _json(path, "name a folder that save_pretrained wrote")
    if values.get("quantization_config"):
        raise UserError(f"{path}: quantization_config: quantised weights are not trained here; use the plain model")
    return values


def _tensors(folder: Path, config: Mapping[str, Any]) -> dict[str, SavedTensor]:
    if (folder / _WHOLE).is_file():
        return _read_header(folder / _WHOLE)
    path = folder / _INDEX
    if not path.is_file():
        raise _without_safetensors(folder, config)
    where = _json(path, "restore it").get("weight_map")
    if not isinstance(where, dict) or not where or not all(map(_is_plain, where.values())):
        raise UserError(f"{path}: its weight_map does not name files of the folder; save the model again")
    parts = {file: _read_header(_part(folder, file)) for file in sorted(set(where.values()))}
    for name, file in where.items():
        if name not in parts[file]:
            raise UserError(f"{path}: says that {name} is in {file}, which has no such tensor; save the model again")
    return {name: parts[file][name] for name, file in where.items()}


def _is_plain(file: Any) -> bool:
    return isinstance(file, str) and Path(file).name == file and "\0" not in file


def _part(folder: Path, file: str) -> Path:
    path = folder / file
    if not path.is_file():
        raise UserError(f"{path}: is missing, and {_INDEX} names it; restore it, or save the model again")
    return path


def _without_safetensors(folder: Path, config: Mapping[str, Any]) -> UserError:
    pickles = sorted(path.name for path in folder.iterdir() if path.suffix in _PICKLES)
    auto = f"AutoModelFor{'MaskedLM' if family_of_config(config).is_masked else 'CausalLM'}"
    command = (
        f'python -c "from transformers import {auto} as M; M.from_pretrained({str(folder)!r}).save_pretrained('
        f'{str(folder)!r})"'
    )
    if not pickles:
        return UserError(f"{folder}: holds no {_WHOLE}; restore it, or save the model again with save_pretrained")
    return UserError(
        f"{folder / pickles[0]}: is a pickle, which runs code when it is read; if you trust it, write a {_WHOLE} "
        f"beside it: `{command}`"
    )


def _json(path: Path, fix: str) -> dict[str, Any]:
    try:
        values = files.read_json(path)
    except FileNotFoundError:
        raise UserError(f"{path}: there is no such file; {fix}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; {fix}") from None
    except ValueError:
        values = None
    if not isinstance(values, dict):
        raise UserError(f"{path}: is damaged; restore it, or save the model again")
    return values


def _read_header(path: Path) -> dict[str, SavedTensor]:
    """Read the header of a weight file. Its tensors must fill the file without gaps."""
    try:
        return {name: _entry(path.name, entry) for name, entry in read_entries(path)[0].items()}
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}; restore it") from None
    except (TypeError, ValueError, KeyError, AttributeError, RecursionError):
        raise UserError(f"{path}: is damaged or cut short; restore it, or save the model again") from None


def _entry(file: str, entry: Mapping[str, Any]) -> SavedTensor:
    shape, (begin, end) = tuple(entry["shape"]), entry["data_offsets"]
    if not all(type(size) is int for size in (*shape, begin, end)) or not isinstance(entry["dtype"], str):
        raise ValueError(shown(entry))
    return SavedTensor(file, entry["dtype"], shape, (begin, end))
