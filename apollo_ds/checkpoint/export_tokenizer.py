"""The tokenizer of an exported model. It states the model's inputs, and splits text as in training."""

from typing import Any

from transformers import PreTrainedTokenizerFast

from apollo_ds.data.corpus import Corpus
from apollo_ds.data.saved_tokenizer import load_tokenizer
from apollo_ds.models.families import family_of
from apollo_ds.models.shape import ModelShape


def exported_tokenizer(text: Corpus, shape: ModelShape) -> Any:
    """Load the text's tokenizer, and set it up for a model of this shape.

    The tokenizer of a causal model gets an end token and a padding token, and pads on the left, as generation needs.
    It adds no special tokens to a text, since training read none.

    Raises:
        UserError: the tokenizer's files are damaged.
    """
    family, folder = family_of(shape), text.tokenizer_folder
    text.check_tokenizer()
    has_types = getattr(family.config(shape), "type_vocab_size", 0) > 1
    takes = ["input_ids", *(["token_type_ids"] if has_types else []), "attention_mask"]
    says: dict[str, Any] = {"model_max_length": shape.max_position_embeddings, "model_input_names": takes}
    if family.is_masked:
        return load_tokenizer(folder, says)
    says["padding_side"] = "left"
    tokenizer = load_tokenizer(folder, says)
    if tokenizer.num_special_tokens_to_add():
        tokenizer = load_tokenizer(folder, says, by=PreTrainedTokenizerFast)  # BERT's class would add them at each load
        tokenizer.backend_tokenizer.post_processor = None
    if tokenizer.eos_token is None:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(text.manifest.tokenizer.end_of_document)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer
