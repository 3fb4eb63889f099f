"""Open a model that `transformers` saved: find it, check it, and load its tokenizer and its weights."""

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import transformers
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from transformers import AutoConfig, PretrainedConfig, PreTrainedModel
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from apollo_ds.checkpoint.export_manifest import DamagedExport, verify_export
from apollo_ds.config.not_a_run import not_a_run, runs_beside
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.data.saved_tokenizer import greatest_id, load_tokenizer
from apollo_ds.errors import UserError
from apollo_ds.saved_models.positions import counts_positions_from_padding, most_tokens
from data_prep.did_you_mean import nearest
from data_prep.errors import first_line

_log = logging.getLogger(__name__)
_USUAL_PLACE = Path("runs")
"""The folder in which recipes of the package put their runs."""


@dataclass(frozen=True)
class SavedModel:
    """A model that `transformers` saved, of any family."""

    name: str
    """The name as the user wrote it."""
    source: str
    """A folder, or a name on the hub."""
    config: PretrainedConfig
    tokenizer: Any
    """The tokenizer. It is a fast one, from the tokenizers library."""
    counts_from_padding: bool
    """Whether positions are counted from the padding token's id."""
    positions: int | None
    """The most tokens that the model takes at once. None if there is no limit."""

    @classmethod
    def open(cls, name: str, source: str | None = None) -> Self:
        """Read the configuration and the tokenizer of a model.

        Args:
            name: an exported folder, a run's folder, or any other saved model, as the user wrote it.
            source: where the model is, if not under that name. For a run the default is its export.
        Raises:
            UserError: there is no such model, it is damaged, or its tokenizer is missing or does not fit it.
        """
        os.environ.setdefault(
            "DISABLE_SAFETENSORS_CONVERSION", "1"
        )  # transformers would silently ask a service of the hub
        set_verbosity_error()
        disable_progress_bar()
        source = source or _source(name)
        _verify(name, source)
        try:
            config = AutoConfig.from_pretrained(source, trust_remote_code=False)
            counts_from_padding = counts_positions_from_padding(config)
        except Exception as error:  # damaged files raise anything in transformers
            is_here = Path(source).exists()
            what = "no model that transformers can load there" if is_here else "no such folder, and no model of the hub"
            raise UserError(f"{name}: {what} ({first_line(error)})") from None
        tokenizer = load_tokenizer(source)
        _check(name, tokenizer, config)
        return cls(name, source, config, tokenizer, counts_from_padding, most_tokens(config, counts_from_padding))

    def load(self, auto_class: str, **options: Any) -> tuple[PreTrainedModel, list[str]]:
        """Load the model. Return it with the names of parameters for which it has no saved weights.

        Weights are read only from safetensors: other formats are pickles.

        Args:
            auto_class: the class of `transformers` that has the head.
            options: further arguments of `from_pretrained`.
        Raises:
            UserError: there are no weights, or the model's family has no such head.
        """
        try:
            model, loaded = getattr(transformers, auto_class).from_pretrained(
                self.source, use_safetensors=True, trust_remote_code=False, output_loading_info=True, **options
            )
        except Exception as error:  # damaged files raise anything in transformers
            reason = first_line(error)
            if "safetensors" in reason:
                reason = "there is no model.safetensors; load it and save it again with transformers, which writes one"
            raise UserError(f"{self.name}: cannot be loaded as {auto_class} ({reason})") from None
        return model, sorted({*loaded["missing_keys"], *(key for key, *_ in loaded["mismatched_keys"])})


def _source(name: str) -> str:
    """The name or path for `from_pretrained`. For a run it is the run's export."""
    path = Path(name)
    run = RunFolder(path)
    if not path.exists():
        if not _may_be_of_hub(name):
            near = nearest(runs_beside(path), name)
            fix = f"did you mean {near}?" if near else "name a run, an exported model, or a model of the hub"
            raise UserError(f"{name}: no such folder; {fix}")
        if (_USUAL_PLACE / name).is_dir():
            raise UserError(f"{name}: no such folder; did you mean {_USUAL_PLACE / name}?")
        return name
    if (path / "config.json").is_file():
        return name
    if run.exists and (run.export / "config.json").is_file():
        return str(run.export)
    if run.exists:
        raise UserError(f"{name}: this run has no exported model; write it with `apollo-ds export {name} {run.export}`")
    raise UserError(not_a_run(path, lacks="config.yaml and no config.json"))


def _may_be_of_hub(name: str) -> bool:
    """Whether a name can be one of the hub. To ask the hub in vain takes half a minute."""
    try:
        validate_repo_id(name)
    except HFValidationError:  # such as "../model", or a sentence
        return False
    return not ("/" in name and Path(name).parent.is_dir())


def _verify(name: str, source: str) -> None:
    """Compare an export's files with its manifest before anything else reads them."""
    folder = Path(source)
    if not folder.is_dir():
        return
    run = name if source != name else "RUN"
    try:
        manifest = verify_export(folder)
    except DamagedExport as damage:
        fix = f"remove {source} and write it again with `apollo-ds export {run} {source}`"
        raise UserError(f"{damage}; {fix}") from None
    if manifest is None and source != name:
        _log.warning(
            "%s: an earlier version wrote it without hashes, so that damage could go unnoticed; write it again with "
            "`apollo-ds export %s %s`",
            *(source, name, source),
        )


def _check(name: str, tokenizer: Any, config: PretrainedConfig) -> None:
    if not tokenizer.is_fast:
        raise UserError(f"{name}: its tokenizer is not one of the tokenizers library; save it with a tokenizer.json")
    tokens = greatest_id(tokenizer) + 1
    if tokens > config.vocab_size:
        raise UserError(
            f"{name}: the tokenizer has {tokens} tokens, and the model {config.vocab_size}; save the model's own "
            "tokenizer in its folder"
        )
