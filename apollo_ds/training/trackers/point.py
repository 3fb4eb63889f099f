"""Convert events of metrics.jsonl to points for trackers: numbers and texts, each with a tag."""

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
"""The tag of each number. Trackers sort groups by name, and with these names losses come first."""
_OF_EACH_TEXT = {"losses": "loss_of_text", "bits_per_byte_of": "loss_of_text_bits_per_byte"}
PROGRESS = ("tokens", "flops", "seconds")
"""The keys of steps and evaluations that say what the run has used."""


def events(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """The complete events of a run's metrics.jsonl. A crash of the machine may have cut off the last one."""
    for line in lines:
        with suppress(ValueError):
            event = json.loads(line)
            if isinstance(event, dict) and isinstance(event.get("step"), int):
                yield event


@dataclass(frozen=True)
class Point:
    """The data of an event that a tracker gets."""

    step: int
    time: float
    """The time in seconds since 1970, as if the run had never paused."""
    scalars: dict[str, float]
    """Numbers by tag, such as `loss/train`. Numbers that are not finite are left out."""
    texts: dict[str, str]
    """Texts in Markdown, by tag."""
    progress: dict[str, float]
    """The tokens, FLOPs and seconds that the run has used; empty for events without them."""


class Points:
    """Converts events to points. The events must come in the order in which the run recorded them."""

    def __init__(self, begun: float) -> None:
        """`begun` is the time, in seconds since 1970, at which the first step would have begun without any pause."""
        self._begun = self._now = begun

    def of(self, event: Mapping[str, Any]) -> Iterator[Point]:
        """Yield the point of an event. Yields nothing for an event that trackers do not show."""
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
    between = "**\n\n" if MASK in sample["prompt"] else "**"  # a masked model's text repeats the whole sentence
    return f"**{sample['prompt']}{between}{sample['text']}"


def _in_words(loss: float | None) -> str:
    return "not finite" if loss is None else loss_in_words(loss)
