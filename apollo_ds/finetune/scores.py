"""Compute metrics with the libraries that define them. Metrics are from 0 to 1, correlations from -1 to 1."""

import warnings
from collections.abc import Callable, Sequence
from math import isfinite
from typing import Any


def scores(names: Sequence[str], predicted: Sequence[float], wanted: Sequence[float]) -> dict[str, float]:
    """The metrics of predicted labels or numbers, by name. An undefined correlation, with a constant, counts as 0."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about undefined correlations, and labels that are never predicted
        values = {name: _METRICS[name](predicted, wanted) for name in names}
    return {name: value if isfinite(value) else 0.0 for name, value in values.items()}


def _accuracy(predicted: Sequence[float], wanted: Sequence[float]) -> float:
    from sklearn.metrics import accuracy_score

    return float(accuracy_score(wanted, predicted))


def _f1(predicted: Sequence[float], wanted: Sequence[float]) -> float:
    """The F1 score of label 1."""
    from sklearn.metrics import f1_score

    return float(f1_score(wanted, predicted, zero_division=0.0))


def _matthews(predicted: Sequence[float], wanted: Sequence[float]) -> float:
    from sklearn.metrics import matthews_corrcoef

    return float(matthews_corrcoef(wanted, predicted))


def _pearson(predicted: Sequence[float], wanted: Sequence[float]) -> float:
    from scipy.stats import pearsonr

    return float(pearsonr(predicted, wanted).statistic) if len(wanted) > 1 else 0.0


def _spearman(predicted: Sequence[float], wanted: Sequence[float]) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(predicted, wanted).statistic)


_METRICS: dict[str, Callable[[Sequence[float], Sequence[float]], float]] = {
    "accuracy": _accuracy,
    "f1": _f1,
    "matthews": _matthews,
    "pearson": _pearson,
    "spearman": _spearman,
}


def answer_scores(predicted: Sequence[str], wanted: Sequence[Sequence[str]]) -> dict[str, float]:
    """SQuAD's F1 and exact match. Each predicted answer is compared with all answers that people gave."""
    from torchmetrics.functional.text import squad

    given: list[Any] = [{"id": str(place), "prediction_text": text} for place, text in enumerate(predicted)]
    people: list[Any] = [{"id": str(place), "answers": {"text": list(texts)}} for place, texts in enumerate(wanted)]
    values = squad(given, people)
    return {name: float(values[name]) / 100 for name in ("f1", "exact_match")}
