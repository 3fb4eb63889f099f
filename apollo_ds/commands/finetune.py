"""`apollo-ds finetune`: what a pretrained model is worth on a task."""

from pathlib import Path
from typing import Annotated

import typer

from apollo_ds.commands.arguments import Json, Model, one_of
from apollo_ds.finetune.options import Options
from apollo_ds.finetune.tasks import TASK_NAMES
from data_prep.command_line import path

REPEATED = frozenset({"--seeds", "--learning-rate"})
EXAMPLES = """
apollo-ds finetune runs/mine --task rte --data glue/RTE --seeds 5 --learning-rate 2e-5 5e-5

Files are train.tsv and dev.tsv, whose first line names the columns, or .jsonl; of squad train.json and dev.json.
"""

Task = Annotated[
    str,
    typer.Option(metavar="NAME", parser=one_of(TASK_NAMES), help=f"What to learn: {', '.join(TASK_NAMES)}."),
]
Data = Annotated[Path, typer.Option(metavar="FOLDER", parser=path, help="Where the task's files are.")]
Seeds = Annotated[
    list[int] | None,
    typer.Option(metavar="N ...", help="One number: how many seeds, from 1. Several: these seeds. 5 by default."),
]
LearningRates = Annotated[
    list[float] | None,
    typer.Option(
        metavar="RATE ...", help="One or several; the best is reported. 2e-5 by default; a small model needs more."
    ),
]
Epochs = Annotated[int, typer.Option(metavar="N", help="How often to read the examples.")]
BatchSize = Annotated[int, typer.Option(metavar="N", help="Examples a step.")]
MaxLength = Annotated[
    int | None, typer.Option(metavar="N", help="The most tokens of an example; 128 by default, 384 for squad.")
]
MaxTrainSamples = Annotated[int | None, typer.Option(metavar="N", help="Train on N examples, chosen at random.")]
Out = Annotated[
    Path | None, typer.Option(metavar="FOLDER", parser=path, help="For results; RUN/finetune/TASK by default.")
]


def finetune(
    model: Model,
    task: Task,
    data: Data,
    seeds: Seeds = None,
    learning_rate: LearningRates = None,
    epochs: Epochs = 3,
    batch_size: BatchSize = 32,
    max_length: MaxLength = None,
    max_train_samples: MaxTrainSamples = None,
    out: Out = None,
    as_json: Json = False,
) -> None:
    """Fine-tune a model on a GLUE-style task or SQuAD, over several seeds."""
    options = Options(
        model=model,
        task=task,
        data=data,
        seeds=seeds or [5],
        learning_rate=learning_rate or [2e-5],
        epochs=epochs,
        batch_size=batch_size,
        max_length=max_length,
        max_train_samples=max_train_samples,
        out=out,
        json=as_json,
    )
    from apollo_ds.finetune.command import finetune as run

    run(options)
