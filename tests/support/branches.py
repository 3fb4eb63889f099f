"""Runs that go on from other runs, written by hand."""

import json
from pathlib import Path
from typing import Any

from histories import TERA, write_run


def point(folder: Path, step: int, **changes: Any) -> dict[str, Any]:
    """What a recipe records of the step that it branches from, as far as a comparison reads it."""
    return {"folder": str(folder), "step": step, "layers": 6, "shape": {}, "seq_len": 32, **changes}


def branch(folder: Path, trunk: Path, at: int, held_out: list[tuple[float, float | None]], **changes: Any) -> Path:
    """A run whose record begins with that of another up to an evaluation; ten steps for each pair from there on."""
    before = [event for event in lines(trunk) if event.get("step", 0) <= at and event["event"] != "end"]
    spent = before[-1]
    shared = {"shared_flops": spent["flops"], "shared_tokens": at * 100, "shared_seconds": spent["seconds"]}
    turn = {"event": "branch", "step": at, "parent": str(trunk), "parent_run": trunk.name, "unigram_entropy": 9.0}
    write_run(
        folder,
        [*((e["flops"] / TERA, e["loss"]) for e in before if e["event"] == "eval"), *held_out],
        config={"run": folder.name},
        branch_from=point(trunk, at),
        **changes,
    )
    own = [event for event in lines(folder) if event.get("step", 0) > at or event["event"] == "end"]
    record = [*before, {**turn, **shared}, *own]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in record))
    return folder


def lines(folder: Path) -> list[dict[str, Any]]:
    """A run's record."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
