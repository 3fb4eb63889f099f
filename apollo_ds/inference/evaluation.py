"""Evaluate a model on tasks of EleutherAI's lm-evaluation-harness.

The harness is an optional extra of this package. It is imported only when a model is evaluated.
"""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from apollo_ds.errors import UserError
from apollo_ds.extras import check_extra
from apollo_ds.inference.loaded_model import LoadedModel
from apollo_ds.version import installed_version
from data_prep import files
from data_prep.did_you_mean import nearest
from data_prep.errors import first_line

_ERROR = "_stderr"
"""The ending of the names that the harness gives to standard errors."""


@dataclass(frozen=True)
class Score:
    """A metric that a task has measured."""

    task: str
    metric: str
    value: float
    stderr: float | None
    """The standard error of the value. None if the metric has none."""
    higher_is_better: bool | None
    examples: int | None
    """How many examples the task asked. None for a group of tasks."""


def prepare() -> None:
    """Check that the harness is installed, and silence it. Call this before transformers is imported.

    Raises:
        UserError: the harness is not installed. The message says how to install it.
    """
    check_extra("eval")
    for name in ("lm_eval", "lm-eval", "datasets"):
        logging.getLogger(name).setLevel(logging.ERROR)
    os.environ.setdefault(
        "TOKENIZERS_PARALLELISM", "false"
    )  # otherwise each process that starts another one prints a warning


def evaluate(
    loaded: LoadedModel,
    tasks: Sequence[str],
    include_path: Path | None = None,
    limit: int | None = None,
    few_shot: int | None = None,
    batch_size: int = 8,
) -> list[Score]:
    """Evaluate a model with the harness.

    Args:
        loaded: the model.
        tasks: the names of tasks of `lm-eval`, or of tasks that the files in `include_path` describe.
        include_path: a folder with YAML files that describe tasks.
        limit: the most examples of each task.
        few_shot: how many solved examples stand before each question. By default the task decides.
        batch_size: how many examples to ask at a time.
    Raises:
        UserError: there is no such task, or its data cannot be read, for example because there is no network.
    """
    with redirect_stdout(sys.stderr):  # the harness prints its progress
        from lm_eval.evaluator import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager

        manager = TaskManager(include_path=None if include_path is None else str(include_path))
        _check_known(tasks, manager.all_tasks, include_path)
        asked = HFLM(
            pretrained=loaded.model,
            tokenizer=loaded.saved.tokenizer,
            batch_size=batch_size,
            max_length=loaded.saved.positions,
            truncation=True,
        )
        try:
            measured = simple_evaluate(
                asked, tasks=list(tasks), num_fewshot=few_shot, limit=limit, task_manager=manager, log_samples=False
            )
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"--tasks {','.join(tasks)}: cannot be run ({first_line(error)})") from None
    return list(_scores(measured))


def _check_known(tasks: Sequence[str], known: Sequence[str], include_path: Path | None) -> None:
    for task in tasks:
        if task not in known:
            where = "" if include_path is None else f", and {include_path} describes none"
            near = nearest(known, task)
            fix = f"did you mean {near}?" if near else "`lm-eval ls tasks` lists them"
            raise UserError(f"--tasks: the harness has no task {task}{where}; {fix}")


def _scores(measured: dict[str, Any]) -> Iterator[Score]:
    for task, found in measured["results"].items():
        for key, value in found.items():
            name, _, kind = key.partition(",")
            if not kind or name.endswith(_ERROR):
                continue
            error = found.get(f"{name}{_ERROR},{kind}")
            yield Score(
                task,
                name if kind == "none" else f"{name} ({kind})",
                value,
                error if isinstance(error, float) else None,
                measured["higher_is_better"].get(task, {}).get(name),
                measured["n-samples"].get(task, {}).get("effective"),
            )


def write_scores(scores: Sequence[Score], path: Path, about: dict[str, Any]) -> None:
    """Write scores as JSON, with the facts in `about` on the model and the options.

    Raises:
        UserError: the file cannot be written.
    """
    versions = {name: installed_version(name) for name in ("apollo_ds", "lm_eval", "transformers", "torch")}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(path, {**about, "versions": versions, "scores": [asdict(score) for score in scores]})
    except OSError as error:
        raise UserError(f"{path}: cannot be written: {error.strerror}; name another file with --out") from None
