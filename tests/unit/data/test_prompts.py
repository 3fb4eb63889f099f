"""What a model in training writes is text that can be shown."""

from corpora import corpus
from tokenizers import Tokenizer

from apollo_ds.data.prompts import Prompts


def test_no_terminal_obeys_what_is_written() -> None:
    prepared = corpus("gpt2")
    tokens = Tokenizer.from_file(str(prepared.tokenizer_folder / "tokenizer.json")).encode("a\x1bc\r\n\tb\x9b").ids
    assert Prompts(prepared, is_masked=False, seq_len=32).text_of(tokens) == "a\ufffdc\r\n\tb\ufffd"
