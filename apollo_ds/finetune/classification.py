"""Tasks that give one sentence or a pair of sentences a label or a number."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self

from apollo_ds.finetune.examples import Example, find, must_find, read_examples
from apollo_ds.finetune.features import Feature, feature_of
from apollo_ds.finetune.problem import HeldOut, Problem, Scores
from apollo_ds.finetune.sampling import sample
from apollo_ds.finetune.scores import scores
from apollo_ds.finetune.tasks import TASKS, Task

if TYPE_CHECKING:
    from torch import Tensor

    from apollo_ds.finetune.pretrained import Pretrained

_SUFFIXES = (".tsv", ".jsonl")


@dataclass(frozen=True)
class Classification:
    """The examples of a task of the table, which may also be a regression."""

    task: Task
    files: Sequence[Path]
    train: list[Example]
    dev: dict[str, list[Example]]
    """The sets of held-out examples. The key is the ending of the names of their metrics."""

    @classmethod
    def read(cls, name: str, folder: Path, max_train_samples: int | None) -> Self:
        """Read a task's files. Keep at most `max_train_samples` training examples, chosen at random.

        Raises:
            UserError: a file is missing, or its content does not fit the task.
        """
        task = TASKS[name]
        first, *others = task.dev
        found = {"train": must_find(folder, ("train",), _SUFFIXES), first[0]: must_find(folder, first[1], _SUFFIXES)}
        found |= {ending: path for ending, names in others if (path := find(folder, names, _SUFFIXES))}
        read = {key: read_examples(path, task) for key, path in found.items()}
        return cls(task, tuple(found.values()), sample(read.pop("train"), max_train_samples), read)

    @property
    def metrics(self) -> Sequence[str]:
        """The names of the metrics: each metric of the task, for each set of held-out examples."""
        return [f"{name}{ending}" for ending in self.dev for name in self.task.metrics]

    @property
    def sizes(self) -> dict[str, int]:
        """The number of training examples, and of held-out examples in each set."""
        return {"train": len(self.train), **{f"dev{ending}": len(dev) for ending, dev in self.dev.items()}}

    @property
    def baseline(self) -> Scores:
        """The metrics of a guesser that always gives the most frequent label. Empty for a regression."""
        if not self.task.labels:
            return {}
        ((label, _),) = Counter(example.label for example in self.train).most_common(1)
        return {
            name: value
            for ending, examples in self.dev.items()
            for name, value in _scored(self.task, examples, ending, [label] * len(examples)).items()
        }

    def problem(self, pretrained: "Pretrained", max_length: int) -> Problem:
        """Encode the task for a model, with at most `max_length` tokens in a feature."""
        labels = self.task.labels
        config = {"num_labels": len(labels), "problem_type": "single_label_classification"}
        if labels:
            config |= {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}
        return Problem(
            auto_class="AutoModelForSequenceClassification",
            outputs=lambda outputs: outputs.logits,
            train=_with_labels(_features(pretrained, self.train, max_length), self.train),
            held_out=[
                HeldOut(_features(pretrained, dev, max_length), partial(_score, self.task, dev, ending))
                for ending, dev in self.dev.items()
            ],
            config=config if labels else {"num_labels": 1, "problem_type": "regression"},
        )


def _features(pretrained: "Pretrained", examples: Sequence[Example], max_length: int) -> list[Feature]:
    columns = (list(column) for column in zip(*(example.texts for example in examples), strict=True))
    encoded = pretrained.encode_in_parts(*columns, truncation=True, max_length=max_length)
    return [feature_of(part, row) for _, part in encoded for row in range(len(part["input_ids"]))]


def _with_labels(features: list[Feature], examples: Sequence[Example]) -> list[Feature]:
    return [{**feature, "labels": example.label} for feature, example in zip(features, examples, strict=True)]


def _score(task: Task, examples: Sequence[Example], ending: str, rows: "Sequence[Tensor]") -> Scores:
    """The metrics of logits of shape (labels,), or (1,) for a regression."""
    predicted = [int(row.argmax()) if task.labels else float(row) for row in rows]
    return _scored(task, examples, ending, predicted)


def _scored(task: Task, examples: Sequence[Example], ending: str, predicted: Sequence[float]) -> Scores:
    values = scores(task.metrics, predicted, [example.label for example in examples])
    return {f"{name}{ending}": value for name, value in values.items()}
