"""`apollo-ds finetune`: train a pretrained model on a task, and measure how well it does."""

from pathlib import Path
from typing import Annotated

import typer

from apollo_ds.commands.arguments import Json, Model, one_of
from apollo_ds.commands.completions import beginning
from apollo_ds.finetune.options import Options
from apollo_ds.finetune.tasks import TASK_NAMES
from data_prep.command_line import path

EXAMPLES = """
apollo-ds finetune runs/mine --task rte --data glue/RTE
apollo-ds finetune model --task sst2 --data glue/SST-2 --seeds 1 2 3 \\
    --learning-rate 2e-5 5e-5
"""


Task = Annotated[
    str,
    typer.Option(
        metavar="NAME",
        parser=one_of(TASK_NAMES),
        help=f"What to learn: {', '.join(TASK_NAMES)}.",
        autocompletion=beginning(TASK_NAMES),
    ),
]
Data = Annotated[
    Path,
    typer.Option(
        metavar="FOLDER",
        parser=path,
        help="The folder of the task's files: train.tsv and dev.tsv, whose first line names the columns, or .jsonl. "
        "For squad train.json and dev.json.",
    ),
]
Seeds = Annotated[
    list[int] | None,
    typer.Option(
        metavar="N ...",
        help="How many runs to average, each with its own seed. Several numbers are the seeds themselves.",
        show_default="5",
    ),
]
LearningRates = Annotated[
    list[float] | None,
    typer.Option(
        metavar="RATE ...",
        help="One learning rate, or several to try. The results are those of the best. Small models need higher ones.",
        show_default="2e-5",
    ),
]
Epochs = Annotated[int, typer.Option(metavar="N", help="How many times to read the examples.")]
BatchSize = Annotated[int, typer.Option(metavar="N", help="Examples of a step.")]
MaxLength = Annotated[
    int | None,
    typer.Option(metavar="N", help="Tokens of an example. Longer ones are cut.", show_default="128; for squad 384"),
]
MaxTrainSamples = Annotated[int | None, typer.Option(metavar="N", help="Train on N examples only, chosen at random.")]
Out = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", parser=path, help="The folder for the results.", show_default="MODEL/finetune/TASK"),
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
    """Fine-tune a model on a GLUE task or on SQuAD.

    Install what it needs with `pip install 'apollo_ds[finetune]'`. It trains on the task several times, each time with
    another seed. The results are the median and the spread.
    """
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
