"""`apollo-ds eval`: tasks of lm-evaluation-harness."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from apollo_ds.commands.arguments import Json, Model, Step
from data_prep.command_line import path
from data_prep.output import Output

EXAMPLES = """
apollo-ds eval runs/mine --tasks lambada_openai,arc_easy
apollo-ds eval runs/mine --tasks my_task --include-path tasks --limit 100
"""


def eval(
    model: Model,
    tasks: Annotated[str, typer.Option(metavar="TASK,TASK", help="The names of the tasks, with commas between them.")],
    include_path: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", parser=path, help="A folder of YAML files that describe tasks of your own."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="How many examples of each task to ask.")
    ] = None,
    few_shot: Annotated[
        int | None,
        typer.Option(min=0, metavar="N", help="Solved examples before each question.", show_default="the task's own"),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, metavar="N", help="How many examples to ask at a time.")] = 8,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", parser=path, help="Where to write the results.", show_default="RUN/eval/TASKS.json"
        ),
    ] = None,
    step: Step = None,
    as_json: Json = False,
) -> None:
    """Evaluate a model by tasks of lm-evaluation-harness.

    Install it by `pip install 'apollo_ds[eval]'`. Most of its tasks fetch their data from the Hugging Face hub.
    """
    from apollo_ds.inference.evaluation import evaluate, prepare, write_scores
    from apollo_ds.saved_models.results_folder import results_folder

    prepare()
    names = [name for name in tasks.split(",") if name]
    about = {"model": model, "step": step, "tasks": names, "limit": limit, "few_shot": few_shot}
    from apollo_ds.inference.loaded_model import LoadedModel, Task
    from apollo_ds.inference.model_folder import model_folder
    from apollo_ds.inference.scores_table import print_scores

    with model_folder(model, step) as source:
        loaded = LoadedModel.load(model, source, Task.CONTINUE)
    scores = evaluate(loaded, names, include_path, limit, few_shot, batch_size)
    if as_json:
        print(json.dumps([asdict(score) for score in scores], indent=2))
    else:
        print_scores(scores, Output())
    written = out or results_folder(model, "eval") / f"{'+'.join(names)}.json"
    write_scores(scores, written, about)  # last: if it fails, the scores have already been printed
    if not as_json:
        print(written)
