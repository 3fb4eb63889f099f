"""Compute what a run will do with its text, and how long it takes: epochs, tokens a parameter, and time."""

from dataclasses import dataclass
from math import floor
from typing import Any

from rich.console import Console

from apollo_ds.config.recipe import Recipe
from apollo_ds.data.corpus import Corpus
from apollo_ds.data.text import Text
from apollo_ds.errors import UserError
from apollo_ds.planning.choose_model import TOKENS_A_PARAMETER
from apollo_ds.planning.in_words import count_in_words, size_in_words, time_in_words

MOST_EPOCHS = 4
"""Up to this many epochs, repeated text is nearly as good as new text (Muennighoff et al. 2023)."""
_FEWEST_TOKENS_A_PARAMETER = 1
_DAY = 86_400
_LONG_SECONDS = 7 * _DAY


@dataclass(frozen=True)
class Rate:
    """How fast a machine runs a recipe. Seconds that are not known are 0."""

    tokens_per_second: float
    """The tokens per second of all ranks together, in steps at full depth and length."""
    memory_bytes: int | None = None
    """The peak memory of a rank. None if the rate was given and not measured."""
    start_seconds: float = 0.0
    """The time before the first step and after the last one."""
    evaluation_seconds: float = 0.0
    save_seconds: float = 0.0


def epoch_tokens(corpus: Corpus, seq_len: int) -> int:
    """The tokens that an epoch of a text serves. It has whole samples, each with a target for its last token."""
    return (corpus.manifest.splits["train"].tokens - 1) // seq_len * seq_len


def epochs(tokens: float, corpus: Corpus, seq_len: int) -> float:
    """How many epochs of a text `tokens` tokens are."""
    return tokens / epoch_tokens(corpus, seq_len)


def outlook(recipe: Recipe, planned: dict[str, Any], rate: Rate | None) -> dict[str, Any]:
    """Figures of the text if it exists, figures of time if a rate is known, and warnings in sentences.

    `planned` is the result of `plan`, with a `forecast` if there is one.
    """
    read = _text_of(recipe)
    text = _of_text(recipe, planned, read) if read else None
    time = _of_time(recipe, planned["total"], rate) if rate else None
    warnings = [*([_repeats(recipe, planned, text)] if text and text["epochs"] > MOST_EPOCHS else [])]
    is_new = recipe.schedule().source is None
    if text and is_new and text["tokens_per_parameter"] < _FEWEST_TOKENS_A_PARAMETER:
        warnings.append(
            f"The run reads {text['tokens_per_parameter']:.2g} tokens a parameter, too few for a model of this size, "
            f"which wants about {TOKENS_A_PARAMETER}: use a smaller model or more steps."
        )
    days = planned.get("forecast", {}).get("days")
    seconds = time["seconds"] if time else days and days * _DAY
    if seconds is not None and seconds > _LONG_SECONDS:
        warnings.append(
            f"The run takes {time_in_words(seconds)}, more than a week: use fewer steps, a smaller model or more ranks."
        )
    return {"text": text, "time": time, "warnings": warnings}


def print_outlook(result: dict[str, Any], console: Console) -> None:
    """Print the result of `outlook`: a line on the text, one on the time, and one for each warning."""
    if text := result["text"]:
        console.print(text_in_words(text), markup=False, soft_wrap=True)
    if time := result["time"]:
        console.print(f"Time: {_time(time)}.", soft_wrap=True)
    for sentence in result["warnings"]:
        console.print(sentence, style="bold", markup=False, soft_wrap=True)


def text_in_words(text: dict[str, Any]) -> str:
    """One line on the text of a run: the epochs of each source, and the tokens a parameter."""
    size = f", {text['bytes_per_token']:.2f} bytes of text a token" if text["bytes_per_token"] else ""
    repeated = " and ".join(
        f"{source['epochs']:.3g} epochs of {count_in_words(source['epoch_tokens'])} tokens"
        + (f" ({source['name']}, {source['share']:.1%} of the run)" if len(text["sources"]) > 1 else "")
        for source in text["sources"]
    )
    return f"Text: {repeated}{size}; {text['tokens_per_parameter']:.3g} tokens a parameter."


def evaluations(recipe: Recipe) -> int:
    """How often a run measures its held-out loss, with the measurement at the end."""
    return -(-recipe.steps // recipe.eval_every)


def saves(recipe: Recipe) -> int:
    """How many checkpoints a run writes, with those at its end and at the start of a decay."""
    steps = {*range(recipe.save_every, recipe.steps + 1, recipe.save_every), recipe.steps}
    return len(steps | {recipe.schedule().decays_from} - {None})


def _text_of(recipe: Recipe) -> Text | None:
    """The run's text. None if it is missing or too short, which `check_ready` reports."""
    try:
        text = Text.open(recipe.data)
        for source in text.sources:
            source.corpus.check_fills(recipe.seq_len)
    except UserError:
        return None
    return text


def _of_text(recipe: Recipe, planned: dict[str, Any], text: Text) -> dict[str, Any]:
    """Figures of each source, and of all together. `epochs` is that of the source which is repeated most."""
    tokens = planned["total"]["tokens"]
    sources: list[dict[str, Any]] = [
        {
            "name": source.name,
            "share": source.share,
            "epoch_tokens": epoch_tokens(source.corpus, recipe.seq_len),
            "epochs": epochs(tokens * source.share, source.corpus, recipe.seq_len),
        }
        for source in text.sources
    ]
    return {
        "epoch_tokens": sum(source["epoch_tokens"] for source in sources),
        "epochs": max(source["epochs"] for source in sources),
        "tokens_per_parameter": tokens / planned["stages"][-1]["parameters"],
        "bytes_per_token": text.bytes_per_token,
        "sources": sources,
    }


def _of_time(recipe: Recipe, total: dict[str, Any], rate: Rate) -> dict[str, Any]:
    """Figures of time. A step with fewer layers or shorter samples takes less time, in proportion to its operations."""
    full_tokens = total["steps"] * recipe.global_batch_size * recipe.seq_len
    parts = {
        "step_seconds": full_tokens / rate.tokens_per_second * total["flops"] / total["scratch_flops"],
        "start_seconds": rate.start_seconds,
        "evaluation_seconds": evaluations(recipe) * rate.evaluation_seconds,
        "save_seconds": saves(recipe) * rate.save_seconds,
    }
    return {
        "tokens_per_second": rate.tokens_per_second,
        "is_measured": rate.memory_bytes is not None,
        "memory_bytes": rate.memory_bytes,
        **parts,
        "seconds": sum(parts.values()),
    }


def _time(time: dict[str, Any]) -> str:
    speed = f"{count_in_words(time['tokens_per_second'])} tokens/s"
    if not time["is_measured"]:
        return f"{time_in_words(time['seconds'])} at {speed}, as stated, without evaluations and checkpoints"
    beside = ", ".join(
        f"{name} {time_in_words(time[f'{key}_seconds'])}"
        for name, key in (("steps", "step"), ("evaluations", "evaluation"), ("checkpoints", "save"))
    )
    return (
        f"{time_in_words(time['seconds'])} at {speed}, as measured ({beside}, start and end "
        f"{time_in_words(time['start_seconds'])}); memory {size_in_words(time['memory_bytes'])} a rank"
    )


def _repeats(recipe: Recipe, planned: dict[str, Any], text: dict[str, Any]) -> str:
    total = planned["total"]
    share = MOST_EPOCHS / text["epochs"]
    steps, tokens = floor(recipe.steps * share), total["tokens"] * share
    most = max(text["sources"], key=lambda source: source["epochs"])
    which = most["name"] if len(text["sources"]) > 1 else "The text"
    return (
        f"{which} is repeated {text['epochs']:,.1f} times, and beyond {MOST_EPOCHS} times repeated text adds little: "
        f"use steps={max(1, steps)}, which is {count_in_words(tokens)} tokens, or prepare more text."
    )
