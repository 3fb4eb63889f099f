"""The questions that the evidence answers, what each came to, and the index above their pages."""

from pathlib import Path

import xxhash

HERE = Path(__file__).parent
QUESTIONS = ("order", "factors", "methods", "recipe")
"""The folders of those that sweeps answer, in their order."""
DOWNSTREAM = "downstream"
"""The folder of the one that fine-tuning answers."""
SAVING = "saving"
"""The folder of the one that is answered by a frontier of fixed models."""
ALL = (SAVING, *QUESTIONS, DOWNSTREAM)
"""All of them, the most important first."""
_INTRODUCTION = """These pages answer questions about growing by this project's own runs. Each page
has a question's tables, pictures, commands and records. What each question came to stands below.

The models and runs are small, because two CPU cores made them. Only `gpt2-books512-gpu` is of a GPU. What they show
need not hold for larger ones."""
_HOW_IT_IS_KEPT = """## How a question is kept

A question is a folder with `question.md`, `conclusion.md` and grids. A grid is two things:

- A file GRID.yaml, which `apollo-ds sweep` trains.
- A folder GRID with its record: `runs.csv` (a line a run), `common.yaml` (what all runs have in common) and
  `curves.parquet` (a line an evaluation or growth).

Pages and figures are made from the records alone. Run folders are not kept. A run that is under way has `finished`
false in its record until it is recorded again, and no page counts it.

<!-- not run: hours of training, and GLUE's files -->
```console
$ python benchmarks/evidence/cost.py GRID.yaml                # what its runs will cost; trains nothing
$ apollo-ds sweep GRID.yaml --jobs 2                          # train what has not been trained; again to resume
$ python benchmarks/evidence/evidence.py record GRID.yaml     # its runs become its record
$ python benchmarks/evidence/evidence.py pages                # every page and figure from the records
$ python benchmarks/evidence/downstream.py --glue FOLDER      # fine-tune for the last question, and record it
```

`make evidence` does the first three for the smallest size of two questions, `order` and `factors`."""


def write_index(folder: Path) -> None:
    """Write README.md above the questions: what each of them came to."""
    lines = ["# What growing really saves", "", _INTRODUCTION, ""]
    for name in ALL:
        title = (folder / name / "question.md").read_text().split("\n")[0].removeprefix("# ")
        short = conclusion(folder / name)[0].replace("](../", "](")  # a link from one folder below
        lines += [f"## [{title}]({name}/README.md)", "", short, ""]
    lines.append(_HOW_IT_IS_KEPT)
    (folder / "README.md").write_text("\n".join(lines).rstrip() + "\n")


def conclusion(folder: Path) -> list[str]:
    """What a question came to: three sentences, and below an empty line what else its runs show.

    Where the last line of conclusion.md names other results than are there, it is said after the three.
    """
    path = folder / "conclusion.md"
    if not path.is_file():
        return ["Not answered yet."]
    text, _, written_for = path.read_text().rstrip().partition("\n\nOf results ")
    short, _, rest = text.partition("\n\n")
    if written_for != (now := results_hash(folder)):
        short += f"\n\n*This was written for other results than these, {now}.*"
    return [short, "", rest] if rest else [short]


def results_hash(folder: Path) -> str:
    """Return a hash of all runs in a question's records, and of their results."""
    digest = xxhash.xxh3_64()
    for path in sorted(folder.glob("*/runs.csv")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
