"""The tasks of sentences and pairs: which columns their files have, what the labels mean, and what is measured.

A new task is one more row of the table below.
"""

from dataclasses import dataclass

SQUAD = "squad"
"""Questions with an answer in a given text, which `squad.py` reads."""


@dataclass(frozen=True)
class Task:
    """A column is a tuple of the names that it may have; files of the hub's data sets and of GLUE differ in some."""

    texts: tuple[tuple[str, ...], ...]
    """The columns of the sentence, or of the two sentences of a pair."""
    metrics: tuple[str, ...]
    """Names in `scores.py`; the first is the one to report."""
    labels: tuple[str, ...] = ()
    """The names of the labels 0, 1, ...; none if a number is to be predicted."""
    label: tuple[str, ...] = ("label",)
    limits: tuple[float, float] = (0.0, 0.0)
    """The least and the greatest number that is to be predicted."""
    dev: tuple[tuple[str, tuple[str, ...]], ...] = (("", ("dev",)),)
    """The held-out files: what their metrics' names end with, and the names that the file may have. All but the first
    may be absent."""


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
