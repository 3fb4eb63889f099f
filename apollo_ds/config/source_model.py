"""Read the model that `hf:` names: one that `transformers` saved, in a folder or on the hub. It never imports torch."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from apollo_ds.checkpoint.export_manifest import DamagedExport, read_export_manifest
from apollo_ds.checkpoint.hf_files import CONFIG, RESTORE_EXPORT, HfFiles, read_config
from apollo_ds.config.complaint import complaint
from apollo_ds.config.packaged import expanded
from apollo_ds.errors import UserError
from apollo_ds.models.families import family_of_config, preset
from apollo_ds.models.shape import ModelShape
from apollo_ds.schedule.source import HF, SourceModel
from data_prep.errors import first_line

_OF_THE_HUB = (
    *("config.json", "model.safetensors", "model.safetensors.index.json", "model-*.safetensors"),
    *("tokenizer*", "vocab.*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model"),
)
"""The files of a model that are downloaded. Pickles are not among them."""


def read_model(name: str) -> SourceModel:
    """Read the model whose name stands after `hf:`.

    Raises:
        UserError: there is no such model, a file of it is missing or damaged, or no family here computes the same.
    """
    folder = _folder_of(name)
    shape = read_shape(folder)
    found = HfFiles.read(folder)
    return SourceModel(
        hf=name,
        folder=folder.absolute(),
        shape=shape,
        identity=found.identity,
        tokenizer=_tokenizer_of(folder),
    )


def sizes_named(name: str) -> ModelShape:
    """The sizes that a name stands for: those of a preset, or of the model after `hf:`. The model needs no weights.

    Raises:
        UserError: there is no such preset or model, or no family here computes the same as the model.
    """
    if not name.startswith(HF):
        return preset(name)
    try:
        return read_shape(_folder_of(name.removeprefix(HF), (CONFIG,)))
    except UserError as error:
        raise UserError(f"model: {error}") from None


def sizes_of(model: Any, recorded: Callable[[], Mapping[str, Any] | None] = lambda: None) -> Any:
    """The sizes that `model` of a recipe stands for. Sizes of a named model can be replaced by the recipe's own ones.

    Args:
        model: the value in the recipe.
        recorded: gives the sizes that the run has recorded, if it has begun. They are used if a saved model is gone.
    Raises:
        UserError: for the reasons that `sizes_named` names.
        ValueError: the value is neither a name nor a mapping of sizes.
    """
    if isinstance(model, ModelShape) or (isinstance(model, Mapping) and "from" not in model):
        return model
    name = model["from"] if isinstance(model, Mapping) else model
    own = {key: model[key] for key in model if key != "from"} if isinstance(model, Mapping) else {}
    if isinstance(name, list) or name is None:
        raise ValueError("name a preset, or hf: and a saved model, or give its sizes")
    name = str(name)
    try:
        return {**sizes_named(name).model_dump(), **own}
    except UserError:
        known = recorded() if name.startswith(HF) else None
        if known is None:
            raise
        return {**known, **own}


def read_shape(folder: Path) -> ModelShape:
    """The shape that a folder's config.json describes.

    Raises:
        UserError: the file is missing or damaged, or no family here computes what it describes.
    """
    path, config = folder / CONFIG, read_config(folder)
    try:
        return _shape_of(config)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _shape_of(config: Mapping[str, Any]) -> ModelShape:
    family = family_of_config(config)
    try:
        return family.shape_class.model_validate(family.sizes_of(config))
    except ValidationError as error:
        raise UserError(complaint(error, family.shape_class)) from None


def _folder_of(name: str, wanted: Sequence[str] = _OF_THE_HUB) -> Path:
    """The folder of a model. If it is not on this machine, the wanted files are downloaded from the hub."""
    path = expanded(name)
    try:
        is_folder, exists = path.is_dir(), path.exists()
    except OSError as error:
        raise UserError(f"{HF}{name}: cannot be read: {error.strerror}; name another folder") from None
    if not name or (exists and not is_folder):
        raise UserError(f"{HF}{name}: is no folder; name the one that save_pretrained wrote, or a model of the hub")
    if is_folder:
        _check_is_no_run(path, name)
        return path
    meant = name.startswith((".", "/", "~")) or name.count("/") > 1 or ("/" in name and path.parent.is_dir())
    if meant:  # it must be a path: names of the hub have at most one slash
        raise UserError(f"{HF}{name}: no such folder; name one that save_pretrained wrote, or a model of the hub")
    return _downloaded(name, wanted)


def _check_is_no_run(path: Path, name: str) -> None:
    if (path / CONFIG).is_file() or not (path / "config.yaml").is_file():
        return
    export = f", or its exported model: {HF}{name}/export" if (path / "export" / CONFIG).is_file() else ""
    raise UserError(f"{HF}{name}: is a run of apollo_ds; as a source, name it without {HF}{export}")


def _downloaded(name: str, wanted: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils import disable_progress_bars

    disable_progress_bars()
    try:
        return Path(snapshot_download(name, allow_patterns=list(wanted)))
    except Exception as error:  # many classes: no network, no such model, no access, a full disk
        reason = first_line(error)
        raise UserError(
            f"{HF}{name}: no such folder, and the hub did not give it ({reason}); download it where there is a "
            f"network by `hf download {name} --local-dir FOLDER`, and name {HF}FOLDER"
        ) from None


def _tokenizer_of(folder: Path) -> str | None:
    """The hash of the tokenizer of an export's text. None if the folder is not an export.

    The files of an export must have their recorded sizes.
    """
    try:
        manifest = read_export_manifest(folder)
    except DamagedExport as damage:
        raise UserError(f"{damage}; {RESTORE_EXPORT}") from None
    for file, entry in manifest.files.items() if manifest else ():
        path = folder / file
        if not path.is_file() or path.stat().st_size != entry.bytes:
            raise UserError(f"{path}: missing or damaged; {RESTORE_EXPORT}")
    return manifest.tokenizer if manifest else None
