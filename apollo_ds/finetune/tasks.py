"""The tasks of sentences and pairs: the columns of their files, the meaning of the labels, and the metrics.

To add a task, add a row to the table below.
"""

from dataclasses import dataclass

SQUAD = "squad"
"""The task of questions with an answer in a given text. `squad.py` reads it."""


@dataclass(frozen=True)
class Task:
    """A task. A column is a tuple of its possible names: GLUE's files and the hub's data sets differ in some names."""

    texts: tuple[tuple[str, ...], ...]
    """The column of the sentence, or the two columns of a pair."""
    metrics: tuple[str, ...]
    """The names of metrics in `scores.py`. The first is the one to report."""
    labels: tuple[str, ...] = ()
    """The names of the labels 0, 1 and so on. Empty for a regression."""
    label: tuple[str, ...] = ("label",)
    limits: tuple[float, float] = (0.0, 0.0)
    """For a regression: the least and the greatest number to predict."""
    dev: tuple[tuple[str, tuple[str, ...]], ...] = (("", ("dev",)),)
    """The held-out files. Each has the ending of its metrics' names, and the names that the file may have. Only the
    first file is required."""


_PAIR = (("sentence1",), ("sentence2",))
_ENTAILMENT = ("entailment", "not_entailment")

TASKS: dict[str, Task] = {
    "cola": Task((("sentence",),), ("matthews", "accuracy"), ("unacceptable", "acceptable")),
    "sst2": Task((("sentence",),), ("accuracy",), ("negative", "positive")),
    "rte": Task(_PAIR, ("accuracy",), _ENTAILMENT),
    "wnli": Task(_PAIR, ("accuracy",), ("not_entailment", "entailment")),
    "qnli": Task((("question",), ("sentence",)), ("accuracy",), _ENTAILMENT),
    "mrpc": Task(
        (("sentence1", "#1 String"), ("sentence2", "#2 String")),
        ("f1", "accuracy"),
        ("not_equivalent", "equivalent"),
        label=("label", "Quality"),
    ),
    "qqp": Task(
        (("question1",), ("question2",)),
        ("f1", "accuracy"),
        ("not_duplicate", "duplicate"),
        label=("label", "is_duplicate"),
    ),
    "mnli": Task(
        (("premise", "sentence1"), ("hypothesis", "sentence2")),
        ("accuracy",),
        ("entailment", "neutral", "contradiction"),
        label=("label", "gold_label"),
        dev=(("", ("dev_matched", "dev")), (" mismatched", ("dev_mismatched",))),
    ),
    "stsb": Task(_PAIR, ("spearman", "pearson"), label=("label", "score"), limits=(0.0, 5.0)),
}
TASK_NAMES = (*TASKS, SQUAD)
