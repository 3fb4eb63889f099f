"""Speed of preparing, reading and masking text, side by side with what is usual; results/data.*

    python benchmarks/data.py                       every part
    python benchmarks/data.py preparation           a part; or one of its cases, such as `wordpiece`

`preparation` makes shards from one JSON-lines file, each time in a fresh process, and counts the processor time from
its start, imports included, so that a rate is that of one core however many threads work: with `apollo-prep build`;
with `datasets.map(tokenize)` and `map(group_texts)`, as the example scripts of transformers do; and document by
document into megatron-core's writer, as Megatron's preprocessing does. `reading` compares samples with those of
megatron-core's reader and with slices of a numpy.memmap, `training` with what training takes; `masking` compares with
`DataCollatorForLanguageModeling`; these three also count processor time, on one thread. `full-size` opens a made-up
set of 5 billion tokens in fresh processes.

The text is wikipedia.parquet and books.parquet in APOLLO_DS_CORPORA; books are cut into documents of 30,000
characters. Preparation is measured once, for it is long; all other figures are medians.
"""

import argparse
import contextlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from text_speed.batches import masking, reading, training
from text_speed.full_size import full_size, serve
from text_speed.preparation import preparation, prepare

RESULTS = Path(__file__).parent / "results"
PARTS: dict[str, tuple[Callable[[str], dict[str, float]], tuple[str, ...]]] = {
    "preparation": (preparation, ("wordpiece", "bpe")),
    "reading": (reading, ("128", "512", "1024")),
    "training": (training, ("bert", "gpt2")),
    "masking": (masking, ("token", "whole_word")),
    "full-size": (full_size, ("128", "512")),
}


def main() -> None:
    """Measure all or some parts, each case in a process of its own, and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"{', '.join(PARTS)} or a case of one")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, *arguments = options.one
        jobs: dict[str, Callable[..., None]] = {"prepare": prepare, "serve": serve, "case": case}
        jobs[name](*arguments)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "data.json"
    results = json.loads(path.read_text()) if path.exists() else {}
    for part, (_, cases) in PARTS.items():
        for name in cases:
            if not options.parts or {part, name} & set(options.parts):
                command = [sys.executable, __file__, "--one", "case", part, name]
                output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
                results.setdefault(part, {})[name] = json.loads(output.splitlines()[-1])
                print(part, name, results[part][name], flush=True)
                path.write_text(json.dumps(results, indent=1) + "\n")
    (options.out / "data.md").write_text("\n".join(table(part, results[part]) for part in PARTS if part in results))


def case(part: str, name: str) -> None:
    """Measure one case and print it as JSON."""
    with contextlib.redirect_stdout(sys.stderr):
        result = PARTS[part][0](name)
    print(json.dumps(result))


def table(part: str, cases: dict[str, dict[str, float]]) -> str:
    """A part's cases as Markdown."""
    columns = list(next(iter(cases.values())))
    rows = [[name, *(_short(values[column]) for column in columns)] for name, values in cases.items()]
    lines = [[part, *columns], ["---"] * (len(columns) + 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def _short(value: float) -> str:
    return f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"


if __name__ == "__main__":
    main()
