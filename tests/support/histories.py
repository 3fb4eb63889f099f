"""Run folders written by hand, with numbers that can be checked by hand."""

import json
from pathlib import Path
from typing import Any

import yaml

from apollo_ds.config.recorded import write_recorded

SECONDS_PER_TERAFLOP = 1.0
TOKENS_PER_STEP = 100
STEPS_BETWEEN = 10
"""Steps between two evaluations."""
TERA = 1e12


def recipe(method: str | dict[str, Any] = "scratch", **changes: Any) -> dict[str, Any]:
    """A resolved recipe, as a run folder holds it."""
    model = {"family": "gpt2", "num_layers": 6, "vocab_size": 300, "dropout": 0.0}
    model |= {"hidden_size": 32, "num_heads": 2, "intermediate_size": 128}
    text = {"data": "data/docs", "seq_len": 32, "global_batch_size": 4, "eval_samples": 16, "masking": "token"}
    return {
        "model": model,
        "method": {"name": method} if isinstance(method, str) else method,
        "steps": 30,
        "seed": 7,
        "learning_rate": 0.001,
        **text,
        **changes,
    }


def write_run(
    folder: Path,
    held_out: list[tuple[float, float | None]],
    method: str | dict[str, Any] = "scratch",
    growth_at: int | None = None,
    finished: bool = True,
    speed: float = 1.0,
    start: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """A run of ten steps for each pair of (TFLOPs so far, held-out loss), in 1 / `speed` seconds for each TFLOP.

    Before `growth_at` one layer runs at depths 1 and 3 by turns; from then on three layers do. The growth's losses are
    4.0625 and 4.125. The norm of a step's gradient is its number. `config` is put beside the recipe, `changes` into it.
    """
    folder.mkdir(parents=True)
    lines: list[dict[str, Any]] = [{"event": "start", "step": 0, **(start or {})}]
    spent = 0.0
    for part, (cost, loss) in enumerate(held_out):
        for i in range(STEPS_BETWEEN):
            done = part * STEPS_BETWEEN + i
            grown = growth_at is None or done >= growth_at
            if done == growth_at:
                losses = {"loss_before": 4.0625, "loss_after": 4.125}
                lines.append({"event": "growth", "step": done, "from": 1, "to": 3, "seconds": 0.5, **losses})
            flops = spent + (cost - spent) * (i + 1) / STEPS_BETWEEN
            step = {"step": done + 1, "stage": int(grown and growth_at is not None), "unique_layers": 3 if grown else 1}
            used = {"flops": flops * TERA, "tokens": (done + 1) * TOKENS_PER_STEP, "seconds": flops / speed}
            measured = {"depth": 3 if grown else (1, 3)[i % 2], "loss": 5.0, "grad_norm": float(done + 1)}
            lines.append({"event": "step", **step, **measured, **used})
        used = {"flops": cost * TERA, "seconds": cost / speed}
        lines.append({"event": "eval", "step": (part + 1) * STEPS_BETWEEN, **used, "loss": loss})
        spent = cost
    if finished:
        lines.append({"event": "end", "step": len(held_out) * STEPS_BETWEEN, **used})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = {"tokenizer": "0a", "held_out": "1b", "ranks": 2}
    resolved = recipe(method, **changes)
    recorded = {"recipe": resolved, **text, **(config or {})}
    if "run" in recorded:  # what says which run it is has a hash
        write_recorded(folder / "config.yaml", recorded)
    else:
        (folder / "config.yaml").write_text(yaml.safe_dump(recorded))
    return folder


def rows(page: str, column: str) -> list[dict[str, str]]:
    """The rows of the first table of a Markdown page that has such a column."""
    found: list[list[str]] = []
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")]
        if found and not line.startswith("|"):
            break
        if found or (line.startswith("|") and column in cells):
            found.append(cells)
    heading, _, *body = found
    return [dict(zip(heading, cells, strict=True)) for cells in body]
