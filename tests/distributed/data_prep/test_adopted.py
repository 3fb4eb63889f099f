"""Shards of another tool, from the command to a run on two ranks that is cut short and goes on."""

import re
from pathlib import Path

import numpy as np
from corpora import corpus
from foreign_shards import as_they_are, documents_of, write_shard
from prep_command import kill_and_run_again, run
from ranks import pool
from recipes import tiny
from runs import events, losses, train

from data_prep.manifest import read_manifest
from data_prep.verify import verify


def test_a_run_on_adopted_shards_is_that_on_the_build_of_the_same_documents(tmp_path: Path) -> None:
    built = corpus("gpt2").folder
    documents = documents_of(built / "train")
    write_shard(tmp_path / "shards" / "a_text_document", documents[:50], np.uint16, sequences=2)
    write_shard(tmp_path / "shards" / "b_text_document", documents[50:], np.int32)
    held_out = write_shard(tmp_path / "held_out", documents_of(built / "validation"))
    before = as_they_are(tmp_path / "shards")
    adopt = ["adopt", tmp_path / "shards", "--tokenizer", built / "tokenizer", "--out", tmp_path / "text"]
    done = run(*adopt, "--validation", held_out)
    assert (done.returncode, done.stderr) == (0, "")
    whole = tiny("gpt2", tmp_path / "whole", steps=12)
    cut = tiny("gpt2", tmp_path / "cut", steps=12, save_every=3, data=str(tmp_path / "text"))
    assert pool(2).run(train, whole) == [None, None]
    pool(2).run(train, cut, 7)
    assert pool(2).run(train, cut) == [None, None]
    assert len(events(cut, "resume")) == 1
    assert losses(cut) == losses(whole) and events(cut, "eval") == events(whole, "eval")
    assert as_they_are(tmp_path / "shards") == before
    (tmp_path / "shards" / "b_text_document.bin").unlink()
    done = run("inspect", tmp_path / "text")
    assert done.returncode == 2
    assert re.fullmatch(r"apollo-prep: .*b_text_document\.bin: missing, or changed since .*\n", done.stderr)


def test_killed_while_it_wrote_and_run_again(tmp_path: Path) -> None:
    write_shard(tmp_path / "shards" / "a", [[i, i + 1, 0] for i in range(1, 200)], np.uint16)
    adopt: list[str | Path] = ["adopt", tmp_path / "shards", "--tokenizer", corpus("gpt2").tokenizer_folder, "--out"]
    assert run(*adopt, tmp_path / "whole").returncode == 0
    kill_and_run_again([*adopt, tmp_path / "out"], tmp_path / "out", ["train-00000.idx"], [0])
    assert read_manifest(tmp_path / "out") == verify(tmp_path / "whole")
    assert not (tmp_path / "out" / "work").exists()


def test_mistakes_are_one_sentence_and_code_2(tmp_path: Path) -> None:
    shard = write_shard(tmp_path / "a", [[1, 2, 0], [3, 0]])
    tokenizer = corpus("gpt2").tokenizer_folder
    for given, told in (
        ([tmp_path / "none", "--tokenizer", tokenizer], "none: no shard there"),
        ([shard, "--tokenizer", "bpe"], "--tokenizer bpe: nothing there"),
        ([shard, "--tokenizer", tokenizer, "--validation", tmp_path / "none"], "none: no shard there"),
    ):
        done = run("adopt", *given, "--out", tmp_path / "out")
        assert done.returncode == 2
        assert re.fullmatch(rf"apollo-prep: .*{told}.*\n", done.stderr)
        assert not (tmp_path / "out").exists()
