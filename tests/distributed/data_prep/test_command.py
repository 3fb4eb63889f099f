"""The command line as a user meets it: killed, misused, and its `inspect`."""

import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from prep_command import kill_and_run_again, run, run_here, shards, without_end
from texts import make_texts, write_jsonl

from apollo_ds.data.corpus import Corpus


def test_killed_twice(tmp_path: Path) -> None:
    options: list[str | Path] = ["--tokenizer", "wordpiece", "--vocab-size", "1000", "--deduplicate", "exact"]
    for i in range(8):
        options += ["--source", write_jsonl(tmp_path / f"{i}.jsonl", make_texts(100, seed=i))]
    run_here("build", *options, "--out", tmp_path / "whole", "--workers", "1")
    build = ["build", *options, "--out", tmp_path / "out", "--workers", "2"]
    kill_and_run_again(build, tmp_path / "out", ["work/parts-*/*.json", "train.bin"], [0, 0])
    assert shards(tmp_path / "out") == shards(tmp_path / "whole")
    assert not (tmp_path / "out" / "work").exists()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    source = write_jsonl(tmp_path / "a.jsonl", make_texts(100))
    result = run(
        "build", "--source", f"mine={source}", "--tokenizer", "bpe", "--vocab-size", "500", "--out", tmp_path / "o"
    )
    assert result.returncode == 0, result.stderr
    assert re.search(r"mine +100 +0\.1 +none", result.stdout)
    assert "bpe of 500 tokens; unigram entropy" in result.stdout
    assert result.stderr == ""
    return tmp_path / "o"


def test_inspect(folder: Path) -> None:
    result = run("inspect", folder)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    for expected in ("every file is as it was written", "quartiles", "█", "training tokens"):
        assert expected in result.stdout
    for of_masks in ("under masking", "to predict: ", "[MASK]"):
        assert of_masks not in result.stdout
    assert (folder / "lengths.png").read_bytes().startswith(b"\x89PNG")
    (folder / "train.bin").write_bytes(b"\xff" + (folder / "train.bin").read_bytes()[1:])
    result = run("inspect", folder)
    assert result.returncode == 2
    assert re.fullmatch(r"apollo-prep: .*train\.bin: missing or damaged: restore it, or .*\n", result.stderr)


def test_inspect_shows_masks_where_the_tokenizer_has_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", make_texts(20))
    run_here("build", "--source", source, "--tokenizer", "wordpiece", "--vocab-size", "500", "--out", tmp_path / "out")
    run_here("inspect", tmp_path / "out")
    printed = capsys.readouterr().out
    assert printed.count("the first of them under masking: ") == 2
    assert printed.count("to predict: ") == 2
    assert "[MASK]" in printed


def test_only_writing_and_checking_shards_imports_torch(tmp_path: Path) -> None:
    """megatron-core and torch take seconds: no mistake, no encoding process and no later start waits for them."""
    program = """
import sys
from pathlib import Path
import data_prep.pool
from apollo_ds.data.corpus import Corpus
from apollo_ds.data.token_stream import TokenStream
from data_prep.__main__ import main
folder = Path(sys.argv.pop())
try:
    main()
except SystemExit as stop:
    print(stop.code)
Corpus.open(folder).verify()
TokenStream(folder, "train", 16, seed=1)
print(sorted({"torch", "megatron"} & set(sys.modules)))
"""
    source = write_jsonl(tmp_path / "a.jsonl", make_texts(20))
    out = tmp_path / "out"
    options = ["--tokenizer", "bpe", "--vocab-size", "300", "--source"]
    run_here("build", "--out", out, *options, source)
    Corpus.open(out).verify()
    mistake = ["build", "--out", str(tmp_path / "new"), *options, str(tmp_path / "none.jsonl"), str(out)]
    done = subprocess.run([sys.executable, "-c", program, *mistake], check=True, capture_output=True, text=True)
    assert done.stdout == "2\n[]\n"


def test_mistakes_are_one_sentence_and_code_2(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("x")
    for given in (tmp_path / "a.csv", tmp_path / "none", tmp_path):
        result = run("build", "--source", given, "--tokenizer", "bpe", "--out", tmp_path / "out")
        assert result.returncode == 2
        assert re.fullmatch(r"apollo-prep: .*\n", result.stderr)
        assert not (tmp_path / "out" / "manifest.json").exists()
    result = run("build", "--source", tmp_path, "--tokenizer", "bpe", "--out", "x", "--weight", "a=much")
    assert result.stderr == "apollo-prep: --weight a=much: not NAME=NUMBER, such as books=2\n"
    assert run("inspect", tmp_path / "nothing").returncode == 2


def test_an_interrupt_says_how_to_go_on(tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "a.jsonl", make_texts(300))
    build = ["build", "--source", source, "--tokenizer", "wordpiece", "--out", tmp_path / "out"]
    inherited = signal.signal(signal.SIGINT, signal.SIG_DFL)  # what starts the tests may ignore it, and so would this
    with subprocess.Popen(without_end(*build), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        signal.signal(signal.SIGINT, inherited)
        while not (tmp_path / "out" / "work").exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
    assert process.returncode == 130
    assert errors == "apollo-prep: stopped; the same command continues\n"
    shutil.rmtree(tmp_path / "out")
