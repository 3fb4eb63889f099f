"""The model that is fine-tuned: where it is, its tokenizer made ready for sentences and pairs, and its weights."""

import copy
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
import transformers
import xxhash
from tokenizers.processors import Sequence as InTurn
from tokenizers.processors import TemplateProcessing
from transformers import AutoConfig, BatchEncoding, PretrainedConfig, PreTrainedModel
from transformers.utils.logging import disable_progress_bar, set_verbosity_error

from apollo_ds.checkpoint.export_folder import READ_BY_TRANSFORMERS
from apollo_ds.checkpoint.export_manifest import NAME, DamagedExport, read_export_manifest, verify_export
from apollo_ds.checkpoint.find import hash_of
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.data.saved_tokenizer import greatest_id, load_tokenizer
from apollo_ds.errors import UserError
from apollo_ds.finetune.positions import counts_positions_from_padding, most_tokens

_log = logging.getLogger(__name__)
_ROWS = 1000


@dataclass(frozen=True)
class Pretrained:
    """A checkpoint of `transformers`, of any family that has the head that a task needs."""

    name: str
    """As the user wrote it."""
    source: str
    """A folder, or a name on the hub."""
    config: PretrainedConfig
    tokenizer: Any
    """A fast tokenizer that pads on the right and reads special tokens that a text spells out as plain text."""
    positions: int | None
    """The most tokens that the model takes at once. None where its positions have no end."""

    @classmethod
    def open(cls, name: str) -> Self:
        """Read the configuration and the tokenizer of an exported folder, a run's folder, or any other checkpoint.

        Raises:
            UserError: there is no such model, it is damaged, or its tokenizer is missing or not its own or has no token
                to pad with.
        """
        os.environ.setdefault("DISABLE_SAFETENSORS_CONVERSION", "1")  # a service of the hub, asked without being told
        set_verbosity_error()
        disable_progress_bar()
        source = _source(name)
        _verify(name, source)
        try:
            config = AutoConfig.from_pretrained(source, trust_remote_code=False)
            counts_from_padding = counts_positions_from_padding(config)
        except Exception as error:  # damaged files raise anything in transformers
            reason = _first_line(error)
            raise UserError(f"{name}: no model that transformers can load there ({reason})") from None
        tokenizer = load_tokenizer(source)
        _check(name, tokenizer, config)
        _make_ready(name, tokenizer)
        if not counts_from_padding:  # another id for padding would move every position
            config.pad_token_id = tokenizer.pad_token_id
        return cls(name, source, config, tokenizer, most_tokens(config, counts_from_padding))

    def identity(self) -> str:
        """A hash of the files in the model's folder; of a model on the hub its name and commit.

        An export's manifest is left out: results of a model that an earlier version exported without one, or that is
        exported again from the same checkpoint, are still that model's.
        """
        folder = Path(self.source)
        if not folder.is_dir():
            return f"{self.source}@{self.config._commit_hash}"
        left_out = () if read_export_manifest(folder) is None else (NAME,)
        files = sorted(p for p in folder.iterdir() if p.suffix in READ_BY_TRANSFORMERS and p.name not in left_out)
        return xxhash.xxh3_128_hexdigest("".join(f"{path.name} {hash_of(path)} " for path in files).encode())

    def encode(self, *columns: list[str], **options: Any) -> BatchEncoding:
        """Token ids and what else the model takes, of sentences or, with two columns, of pairs."""
        takes_types = getattr(self.config, "type_vocab_size", 2) > 1
        return self.tokenizer(*columns, return_token_type_ids=None if takes_types else False, **options)

    def encode_in_parts(self, *columns: list[str], **options: Any) -> Iterator[tuple[int, BatchEncoding]]:
        """The same for any number of rows, some at a time: encodings take far more memory than the tokens in them."""
        for start in range(0, len(columns[0]), _ROWS):
            yield start, self.encode(*(column[start : start + _ROWS] for column in columns), **options)

    def build(self, auto_class: str, config: Mapping[str, Any], seed: int) -> PreTrainedModel:
        """The model in fp32 with a head whose weights are drawn from the seed, which later draws go on from.

        Weights are read from safetensors alone: other formats are pickles.

        Args:
            auto_class: the class of `transformers` that has the head.
            config: what the head adds to the model's configuration.
            seed: of the head's weights.
        Raises:
            UserError: its weights are missing in whole or in part, or its family has no such head.
        """
        whole = copy.deepcopy(self.config)
        whole.use_cache = False
        for key, value in config.items():
            setattr(whole, key, value)
        torch.manual_seed(seed)
        try:
            # A head that was trained for another number of labels is drawn anew.
            model, loaded = getattr(transformers, auto_class).from_pretrained(
                self.source,
                config=whole,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
        except Exception as error:  # as above
            reason = _first_line(error)
            if "safetensors" in reason:
                reason = "there is no model.safetensors; load it and save it again with transformers, which writes one"
            raise UserError(f"{self.name}: cannot be loaded as {auto_class} ({reason})") from None
        absent = {*loaded["missing_keys"], *(key for key, *_ in loaded["mismatched_keys"])}
        body = sorted(key for key in absent if key.startswith(f"{model.base_model_prefix}.") and ".pooler." not in key)
        if body:
            raise UserError(f"{self.name}: lacks {len(body)} of its weights, such as {body[0]}; export it again")
        return model


def _source(name: str) -> str:
    """What `from_pretrained` takes: of a run its export."""
    path = Path(name)
    run = RunFolder(path)
    if not path.exists():
        meant = name.startswith((".", "/", "~")) or name.count("/") > 1 or ("/" in name and path.parent.is_dir())
        if meant:  # as a path: the hub's names have at most one slash, and asking the hub in vain takes half a minute
            raise UserError(f"{name}: no such folder; name a run, an exported model, or a model of the hub")
        return name
    if (path / "config.json").is_file():
        return name
    if run.exists and (run.export / "config.json").is_file():
        return str(run.export)
    if run.exists:
        raise UserError(f"{name}: this run has no exported model; write it with `apollo-ds export {name} {run.export}`")
    raise UserError(f"{name}: neither a run nor a model: it has no config.yaml and no config.json")


def _verify(name: str, source: str) -> None:
    """Compare an export's files with its manifest, before anything reads them."""
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


def _first_line(error: Exception) -> str:
    """What an error says, in one line."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


def _check(name: str, tokenizer: Any, config: PretrainedConfig) -> None:
    if not tokenizer.is_fast:
        raise UserError(f"{name}: its tokenizer is not one of the tokenizers library; save it with a tokenizer.json")
    tokens = greatest_id(tokenizer) + 1
    if tokens > config.vocab_size:
        raise UserError(
            f"{name}: the tokenizer has {tokens} tokens, and the model {config.vocab_size}; save the model's own "
            "tokenizer in its folder"
        )


def _make_ready(name: str, tokenizer: Any) -> None:
    """Give a tokenizer of running text, such as GPT-2's, a token to pad with and one to separate two sentences."""
    if tokenizer.pad_token is None:
        # Texts cannot hold it, see below, so the last token of a row that is not padding is the last of its text.
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    if tokenizer.pad_token is None:
        raise UserError(f"{name}: its tokenizer has no token to pad with; add a pad_token to tokenizer_config.json")
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    backend = tokenizer.backend_tokenizer
    tokenizer.split_special_tokens = True
    end = tokenizer.eos_token
    if end is not None and tokenizer.num_special_tokens_to_add(pair=True) == 0:
        separate = TemplateProcessing(
            single=["$A"], pair=["$A", end, "$B"], special_tokens=[(end, tokenizer.eos_token_id)]
        )
        before = backend.post_processor
        backend.post_processor = separate if before is None else InTurn([before, separate])
