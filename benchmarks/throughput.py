"""Measures the speed of training against the usual alternatives; results/throughput.*

    python benchmarks/throughput.py                                  every part, in the sizes for two CPU cores
    python benchmarks/throughput.py against schedule                 some parts
    python benchmarks/throughput.py schedule --settings bert-base-128 gpt2-base-1024      on a GPU

`peak`: the operations a second that matrix products reach. The schedule's utilisation is a fraction of that.
`against`: tokens a second against `transformers.Trainer` with the stock model, with and without its dropout, and
against a plain PyTorch loop with the same tricks by hand; each in a process of its own, in turn, at several depths.
`depth`: the time of a step by the number of layers that run, with a new depth in each step and with a fixed one; and
whether a new depth compiles anything.
`schedule`: Apollo's whole schedule beside training from scratch, step for step: how much of the operations saved is
saved in time, stage by stage.
`ranks`: two ranks against one with the same global batch (CPU).
`shallow`: one layer beside all on two ranks (CPU), at each ZeRO stage, and in the micro-batches that full depth needs.
`optimizers`: a step with Muon beside one with AdamW, by the number of layers.
`pieces`: parts of a step that have a way of their own here, beside the usual way (CPU).
`profile`: what a step at depth 1 and at full depth spends its time on, with traces for chrome://tracing or Perfetto.

Every measurement is written as soon as it is done. Parts that are not asked for keep their last results, unless these
have another precision. On a CPU that computes bf16 in software, everything runs in fp32. `against` needs one package
more: `pip install -c constraints.txt -e '.[benchmark]'`.
"""

import argparse
import json
import os
import shutil
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("GOMP_SPINCOUNT", "0")

PARTS = ("peak", "against", "depth", "schedule", "ranks", "shallow", "optimizers", "pieces", "profile")
_ROUNDS = {"against": 9, "depth": 110, "optimizers": 20}


def main() -> None:
    """Measure what is asked for and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=PARTS, metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--settings", nargs="+", default=["bert-cpu", "gpt2-cpu"], metavar="SETTING")
    parser.add_argument("--rounds", type=int, help=f"of against, depth and optimizers; by default {_ROUNDS}")
    parser.add_argument("--steps", type=int, default=240, help="of the whole schedule; a multiple of 40")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="folder of the results")
    parser.add_argument("--rank-of", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--local_rank", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"{', '.join(unknown)}: choose from {', '.join(PARTS)}")
    if options.rounds is not None and options.rounds < 12:
        parser.error("--rounds: at least 12, of which compiled steps and the stock loops take a part")
    if options.rank_of:
        _be_a_rank(*options.rank_of, options.result)
        return
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "throughput.json"
    results: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    tempfile.tempdir = os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="apollo-ds-throughput-")
    from speed.page import write

    for part in options.parts:
        for name in options.settings:
            began = time.monotonic()
            measured = _measure(part, name, options)
            precision = "bf16" if _one_rank().computes_bf16 else "fp32"
            if results.get(name, {}).get("precision") != precision:
                results[name] = {"precision": precision}
            results[name][part] = measured
            path.write_text(json.dumps(results, indent=1))
            write(results, options.out)
            seconds = time.monotonic() - began
            print(f"{part} {name}, {seconds:.0f} s: {json.dumps(measured)[:2000]}", flush=True)
    shutil.rmtree(tempfile.tempdir)


def _measure(part: str, name: str, options: argparse.Namespace) -> dict[str, Any]:
    from speed.settings import SETTINGS

    setting = SETTINGS[name]
    if part == "ranks":
        from speed import ranks

        return ranks.measure(name, rounds=5)
    if part == "shallow":
        from speed import ranks

        return ranks.run_ranks("shallow", name, 2)
    processes = _one_rank()
    if part == "peak":
        from speed.settings import recipe_of

        from apollo_ds.config.deepspeed import precision
        from apollo_ds.engine.hardware import measured_peak

        return {"flops": measured_peak(processes, precision(recipe_of(setting, processes).deepspeed))}
    if part == "against":
        from speed import against

        return against.measure(setting, options.rounds or _ROUNDS[part])
    if part == "depth":
        from speed import depths

        return depths.measure(setting, processes, options.rounds or _ROUNDS[part])
    if part == "optimizers":
        from speed import optimizers

        return optimizers.measure(setting, processes, options.rounds or _ROUNDS[part])
    if part == "schedule":
        from speed import whole_schedule

        return whole_schedule.measure(setting, processes, options.steps, burst=options.steps // 40)
    if part == "pieces":
        from speed import pieces

        return pieces.measure(setting, processes)
    from speed import profiles

    return profiles.measure(setting, processes, options.out / "profile", name)


def _be_a_rank(part: str, name: str, result: Path) -> None:
    """One of the ranks of a part that needs several; the first one writes what was found."""
    from speed import ranks, shallow

    from apollo_ds.engine.processes import Processes

    processes = Processes.join()
    found = {"ranks": ranks, "shallow": shallow}[part].of_ranks(name, processes)
    if processes.is_first:
        result.write_text(json.dumps(found))
    processes.leave()


@cache
def _one_rank() -> Any:
    """The single rank of this process."""
    from speed.pacing import join_alone

    return join_alone()


if __name__ == "__main__":
    main()
