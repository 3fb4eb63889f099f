"""The model that is fine-tuned. Its tokenizer is set up for sentences and pairs, and it gets a head for the task."""

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
import xxhash
from tokenizers.processors import Sequence as InTurn
from tokenizers.processors import TemplateProcessing
from transformers import BatchEncoding, PreTrainedModel

from apollo_ds.checkpoint.export_folder import READ_BY_TRANSFORMERS
from apollo_ds.checkpoint.export_manifest import NAME, read_export_manifest
from apollo_ds.checkpoint.find import hash_of
from apollo_ds.errors import UserError
from apollo_ds.saved_models.saved_model import SavedModel

_ROWS = 1000


@dataclass(frozen=True)
class Pretrained(SavedModel):
    """A model that `transformers` saved, of any family that has the head that a task needs.

    Its tokenizer pads on the right. A special token in a text is read as plain text.
    """

    @classmethod
    def open(cls, name: str, source: str | None = None) -> Self:
        """Open a run or a folder, as `SavedModel.open` does, and set up the tokenizer for fine-tuning.

        Raises:
            UserError: for the reasons that `SavedModel.open` names, or the tokenizer has no token to pad with.
        """
        opened = super().open(name, source)
        _make_ready(name, opened.tokenizer)
        if not opened.counts_from_padding:  # otherwise another padding id would shift every position
            opened.config.pad_token_id = opened.tokenizer.pad_token_id
        return opened

    def identity(self) -> str:
        """A hash of the files in the model's folder. For a model on the hub, its name and commit.

        The manifest of an export does not count. So results stay valid if the same checkpoint is exported again, or if
        an earlier version exported it without a manifest.
        """
        folder = Path(self.source)
        if not folder.is_dir():
            return f"{self.source}@{self.config._commit_hash}"
        left_out = () if read_export_manifest(folder) is None else (NAME,)
        files = sorted(p for p in folder.iterdir() if p.suffix in READ_BY_TRANSFORMERS and p.name not in left_out)
        return xxhash.xxh3_128_hexdigest("".join(f"{path.name} {hash_of(path)} " for path in files).encode())

    def encode(self, *columns: list[str], **options: Any) -> BatchEncoding:
        """Encode sentences, or pairs if there are two columns. Return token ids and the model's other inputs."""
        takes_types = getattr(self.config, "type_vocab_size", 2) > 1
        return self.tokenizer(*columns, return_token_type_ids=None if takes_types else False, **options)

    def encode_in_parts(self, *columns: list[str], **options: Any) -> Iterator[tuple[int, BatchEncoding]]:
        """Encode as `encode` does, some rows at a time: encodings take far more memory than the tokens in them.

        Yields:
            The number of the first row of each part, and the part's encoding.
        """
        for start in range(0, len(columns[0]), _ROWS):
            yield start, self.encode(*(column[start : start + _ROWS] for column in columns), **options)

    def build(self, auto_class: str, config: Mapping[str, Any], seed: int) -> PreTrainedModel:
        """Load the model in fp32 with a new head. The seed sets torch's generator, which draws the head's weights.

        Args:
            auto_class: the class of `transformers` that has the head.
            config: what the head adds to the model's configuration.
            seed: the seed of the head's weights and of later draws, such as dropout.
        Raises:
            UserError: some or all of the model's weights are missing, or its family has no such head.
        """
        whole = copy.deepcopy(self.config)
        whole.use_cache = False
        for key, value in config.items():
            setattr(whole, key, value)
        torch.manual_seed(seed)
        # A saved head for another number of labels is replaced by a new one.
        model, absent = self.load(auto_class, config=whole, dtype=torch.float32, ignore_mismatched_sizes=True)
        body = [key for key in absent if key.startswith(f"{model.base_model_prefix}.") and ".pooler." not in key]
        if body:
            raise UserError(f"{self.name}: lacks {len(body)} of its weights, such as {body[0]}; export it again")
        return model


def _make_ready(name: str, tokenizer: Any) -> None:
    """Give a tokenizer such as GPT-2's a token to pad with, and one to separate two sentences."""
    if tokenizer.pad_token is None:
        # No text can contain it (see below), so the last token of a row that is not padding is the last of its text.
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
