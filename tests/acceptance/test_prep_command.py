"""The preparation of text is killed time and again, and its disk fills."""

import os
import random
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet
import pytest
from prep_command import kill_and_run_again, run, run_here, shards
from texts import make_texts, write_jsonl


def test_both_files_killed_five_times(corpora: Path, tokenizers: dict[str, Path], tmp_path: Path) -> None:
    """Three times at a random moment of the encoding."""
    options: list[str | Path] = ["--tokenizer", tokenizers["bpe"]]
    for name, rows in (("wikipedia", 60), ("books", 12)):
        table = pyarrow.parquet.read_table(corpora / f"{name}.parquet")
        for number in range(3):  # of several files, so that there are several parts
            part = tmp_path / f"{name}-{number}.parquet"
            pyarrow.parquet.write_table(table.slice(number * rows, rows), part)
            options += ["--source", part]
    for workers in ("1", "2"):
        assert run("build", *options, "--out", tmp_path / workers, "--workers", workers).returncode == 0
    build = ["build", *options, "--out", tmp_path / "out", "--workers", "2"]
    when = ["work/options.json", "work/tokenizer-*", "work/parts-*/*.bin", "work/parts-*/*.json", "train.bin"]
    delays = [0, *(random.uniform(0, 0.4) for _ in range(3)), 0]
    kill_and_run_again(build, tmp_path / "out", when, delays)
    assert shards(tmp_path / "out") == shards(tmp_path / "1") == shards(tmp_path / "2")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40k", "none", folder]
    if os.geteuid() or subprocess.run(mount, check=False).returncode:
        pytest.skip("a disk of a few kilobytes can only be mounted by root")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_disk_that_fills(small_disk: Path, tmp_path: Path) -> None:
    """It fills at the tokenizer, at the parts and at the shards; each time the same command goes on."""
    source = write_jsonl(tmp_path / "a.jsonl", make_texts(400))
    options = ["--source", source, "--tokenizer", "wordpiece", "--vocab-size", "2000"]
    run_here("build", *options, "--out", tmp_path / "whole")
    for size in ("40k", "150k", "250k"):
        subprocess.run(["mount", "-o", f"remount,size={size}", small_disk], check=True)
        result = run("build", *options, "--out", small_disk / "out")
        assert result.returncode == 2, size
        sentence = "the disk is full: free some space and run the same command again"
        assert re.fullmatch(rf"apollo-prep: {small_disk}/out\S*: {sentence}\n", result.stderr), result.stderr
    subprocess.run(["mount", "-o", "remount,size=2m", small_disk], check=True)
    assert run("build", *options, "--out", small_disk / "out").returncode == 0
    assert shards(small_disk / "out") == shards(tmp_path / "whole")
