"""Checks of a saved model before a run is trained from it. They import torch and transformers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from apollo_ds.checkpoint.export_manifest import DamagedExport, verify_export
from apollo_ds.checkpoint.hf_files import CONFIG, RESTORE_EXPORT, HfFiles
from apollo_ds.data.corpus import Corpus
from apollo_ds.data.same_tokenizer import check_same_tokenizer
from apollo_ds.errors import UserError
from apollo_ds.models.config_check import check_config
from apollo_ds.models.families import family_of
from apollo_ds.schedule.source import SourceModel


def check_model(source: SourceModel, text: Corpus) -> list[str]:
    """Check that this project can compute the saved model, that no weights are missing, and that the tokenizers agree.

    All weights are read.

    Returns:
        Warnings, one sentence each, about things that do not prevent the run.
    Raises:
        UserError: a check fails, or a file is missing or damaged.
    """
    from apollo_ds.checkpoint.hf_state import HfState

    _verify(source.folder)
    config = HfFiles.read(source.folder).config
    try:
        check_config(source.shape, config)
    except UserError as error:
        raise UserError(f"{source.folder / CONFIG}: {error}") from None
    state = HfState.open(source)
    try:
        state.check_tied()
        state.check_finite()
    finally:
        state.close()
    check_same_tokenizer(source.folder, source.shape, text, source.tokenizer)
    is_masked = family_of(source.shape).is_masked
    return _odd_padding(source, config, text) if is_masked else _odd_ends(source, config, text)


def _verify(folder: Path) -> None:
    try:
        verify_export(folder)
    except DamagedExport as damage:
        raise UserError(f"{damage}; {RESTORE_EXPORT}") from None


def _odd_padding(source: SourceModel, config: Mapping[str, Any], text: Corpus) -> list[str]:
    """Warn if the model takes a token of the text for padding, and so leaves it out where it counts positions."""
    padding = family_of(source.shape).padding_before_positions(config)
    if padding in (None, text.manifest.tokenizer.pad):
        return []
    return [
        f"{source.folder / CONFIG}: pad_token_id is {padding}, which is not padding in {text.folder}; transformers "
        "leaves it out where it counts positions, and training does not"
    ]


def _odd_ends(source: SourceModel, config: Mapping[str, Any], text: Corpus) -> list[str]:
    """Warn if the model's end-of-text token is not the token that ends a document in the text."""
    given = config.get("eos_token_id")
    ends = [end for end in (given if isinstance(given, list) else [given]) if isinstance(end, int)]
    ends = [end for end in ends if 0 <= end < source.shape.vocab_size]
    own = text.manifest.tokenizer.end_of_document
    if not ends or own in ends:
        return []
    return [
        f"{source.folder / CONFIG}: eos_token_id is {' or '.join(map(str, ends))}, and documents of {text.folder} end "
        f"with the token {own}, so the model learns another end; set eos_token_id={own} there if that is its own"
    ]
