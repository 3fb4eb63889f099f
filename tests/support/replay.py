"""Replay each fault that was found from outside, with real commands: row, what happened, exit code.

python tests/support/replay.py --out benchmarks/results/rows.md
"""

import argparse
import shutil
import sys
import time
from pathlib import Path
from tempfile import mkdtemp

import rows_of_names  # noqa: F401 - adds its cases
import rows_of_recipes  # noqa: F401 - adds its cases
import rows_of_state  # noqa: F401 - adds its cases
import rows_of_text  # noqa: F401 - adds its cases
import rows_of_tokenizers  # noqa: F401 - adds its cases
from rows import CASES, Case
from run_bench import Bench


def replay(case: Case, bench: Bench) -> tuple[bool, str]:
    """Judge one case; returns whether it is right, and its row of the table."""
    began = time.monotonic()
    try:
        done, right = case.judge(bench)
        code, told = str(done.code), done.told
    except (AssertionError, OSError, ValueError, LookupError) as error:
        right, code, told = False, "-", f"{type(error).__name__}: {str(error).strip()[-200:]}"
    told = told.replace(str(bench.place), "...").replace("|", "/").replace("\n", " ")[:400]
    verdict = "PASS" if right else "FAIL"
    return right, f"| {case.row} | {case.title} | {told} | {code} | {verdict} | {time.monotonic() - began:.0f} |"


def main() -> None:
    """Replay, print the table, and end with 1 if a case is not right."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="*", default=[], help="such as A1 B3; default: all")
    parser.add_argument("--out", type=Path, help="a page for the table")
    options = parser.parse_args()
    place = Path(mkdtemp(prefix="apollo-ds-rows-"))
    bench = Bench(place)
    rows = ["| row | case | what was said | exit code | | seconds |", "|---|---|---|---|---|---|"]
    print("\n".join(rows))
    wrong = 0
    try:
        for case in sorted(CASES, key=lambda case: (case.row[0], int(case.row[1:]))):
            if not options.rows or case.row in options.rows:
                right, row = replay(case, bench)
                print(row, flush=True)
                rows.append(row)
                wrong += not right
    finally:
        shutil.rmtree(place, ignore_errors=True)
    told = f"{len(rows) - 2} cases, {wrong} of them not right."
    print(told)
    if options.out:
        command = " ".join(["python tests/support/replay.py", *sys.argv[1:]])
        options.out.write_text(f"# Faults, replayed\n\n`{command}`: {told}\n\n" + "\n".join(rows) + "\n")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
