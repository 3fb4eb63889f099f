"""The preparation of real text is killed time and again."""

import random
from pathlib import Path

import pyarrow.parquet
from prep_command import kill_and_run_again, run, shards


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
