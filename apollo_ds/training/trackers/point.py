"""What an event of metrics.jsonl is in a tracker: numbers and texts by tags."""

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from apollo_ds.data.prompts import MASK
from apollo_ds.planning.in_words import loss_in_words

_SCALARS = {
    "step": {
        "loss": "loss/train",
        "lr": "optimizer/learning_rate",
        "new_lr": "optimizer/new_learning_rate",
        "grad_norm": "optimizer/grad_norm",
        "update_to_weight": "optimizer/update_to_weight",
        "skipped_steps": "optimizer/skipped_steps",
        "depth": "model/depth",
        "unique_layers": "model/unique_layers",
        "stage": "model/stage",
        "tokens_per_second": "speed/tokens_per_second",
    },
    "ranks": {
        "utilisation": "speed/model_flops_utilisation",
        "data_wait_seconds": "speed/data_wait_seconds",
        "slowdown": "speed/slowest_rank_over_median",
        "memory_bytes": "speed/memory_bytes",
    },
    "eval": {"loss": "loss/held_out", "bits_per_byte": "loss/held_out_bits_per_byte"},
}
"""Trackers sort groups by name: with these, losses come first."""
_OF_EACH_TEXT = {"losses": "loss_of_text", "bits_per_byte_of": "loss_of_text_bits_per_byte"}
PROGRESS = ("tokens", "flops", "seconds")
"""What steps and evaluations tell of what the run has used."""


def events(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The events of a run's metrics.jsonl that are whole; a crash of the machine may have cut off the last one."""
    for line in lines:
        with suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict) and isinstance(event.get("step"), int):
                yield event


@dataclass(frozen=True)
class Point:
    """What a tracker is told of an event."""

    step: int
    time: float
    """Seconds since 1970, as if the run had never paused."""
    scalars: dict[str, float]
    """By tags, such as `loss/train`. What was not finite is left out."""
    texts: dict[str, str]
    """Markdown, by tags."""
    progress: dict[str, float]
    """Tokens, FLOPs and seconds that the run has used; empty for events that do not tell."""


class Points:
    """Makes points of events, which must come in the order in which the run recorded them."""

    def __init__(self, begun: float) -> None:
        """`begun`: when the first step would have begun if the run had never paused, in seconds since 1970."""
        self._begun = self._now = begun

    def of(self, event: Mapping[str, Any]) -> Iterator[Point]:
        """The point of an event; nothing for an event of which trackers show nothing."""
        progress = {key: event[key] for key in PROGRESS} if event.keys() >= set(PROGRESS) else {}
        if progress:
            self._now = self._begun + progress["seconds"]
        scalars, texts = _scalars(event), _texts(event)
        if scalars or texts:
            yield Point(event["step"], self._now, scalars, texts, progress)


def _scalars(event: Mapping[str, Any]) -> dict[str, float]:
    values = {tag: event.get(key) for key, tag in _SCALARS.get(event["event"], {}).items()}
    if event["event"] == "eval":
        values |= {
            f"{tag}/{name}": value for key, tag in _OF_EACH_TEXT.items() for name, value in event.get(key, {}).items()
        }
    return {tag: value for tag, value in values.items() if value is not None}


def _texts(event: Mapping[str, Any]) -> dict[str, str]:
    if event["event"] == "growth":
        losses = (_in_words(event[key]) for key in ("loss_before", "loss_after"))
        return {"growth": f"{event['from']} -> {event['to']} layers, held-out loss {' -> '.join(losses)}"}
    if event["event"] == "samples":
        return {"samples": "\n\n---\n\n".join(map(_passage, event["samples"]))}
    return {}


def _passage(sample: Mapping[str, str]) -> str:
    between = "**\n\n" if MASK in sample["prompt"] else "**"  # a masked model's text is the whole sentence again
    return f"**{sample['prompt']}{between}{sample['text']}"


def _in_words(loss: float | None) -> str:
    return "not finite" if loss is None else loss_in_words(loss)
