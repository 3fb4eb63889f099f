"""The sentence with which a run's report begins."""

from math import log
from pathlib import Path

import pytest
from histories import TOKENS_PER_STEP, recipe, write_run

from apollo_ds.experiments.history import RunHistory
from apollo_ds.experiments.outcome import outcome
from apollo_ds.models.families import shape_class_of
from apollo_ds.models.flops import training_flops
from apollo_ds.planning.in_words import flops_in_words

SIZES = recipe()["model"]
SHAPE = shape_class_of(SIZES).model_validate(SIZES)
A_STEP = training_flops(SHAPE, SIZES["num_layers"], 32, 1) * TOKENS_PER_STEP / 32


def history(folder: Path, loss: float | None, part: float = 0.5, **changes: object) -> RunHistory:
    """Ten steps that take a part of what they would take if each ran all layers."""
    return RunHistory.read(write_run(folder, [(part * 10 * A_STEP / 1e12, loss)], "apollo", **changes))


def test_it_says_what_came_out_and_what_it_took(tmp_path: Path) -> None:
    run = history(tmp_path / "run", 5.25, start={"unigram_entropy": 6.0})
    run.evals[-1]["bits_per_byte"] = 1.834
    assert outcome(run) == (
        "This run came to a held-out loss of 5.250 nats per token (perplexity 190.6, 1.83 bits a byte) after 10 steps "
        f"for {flops_in_words(5 * A_STEP)}, 50.0% of what all 6 layers would have taken on the same tokens."
    )


def test_what_the_source_has_cost_counts(tmp_path: Path) -> None:
    start = {"source": "small", "source_flops": 1.5 * A_STEP, "source_tokens": 1, "source_seconds": 1.0}
    before = flops_in_words(1.5 * A_STEP)
    told = f" (with {before} before it), 65.0% of what all 6 layers would have taken on the same tokens."
    assert outcome(history(tmp_path / "run", 5.25, start=start)).endswith(told)


@pytest.mark.parametrize(
    ("loss", "changes", "told"),
    [
        (5.0, {"part": 1.0}, "FLOP, all 6 layers in each step."),
        (None, {}, "This run came to no finite held-out loss after 10 steps for"),
        (
            5.0,
            {"finished": False},
            "its end: it has a held-out loss of 5.000 nats per token (perplexity 148.4) after 10 of 30 steps",
        ),
        (
            6.5,
            {"start": {"unigram_entropy": 6.25}},
            "Nothing is learned yet: a guess without context has a loss of 6.250.",
        ),
        (50.0, {}, "a held-out loss of 50.000 nats per token after 10 steps"),
    ],
)
def test_it_is_honest(loss: float | None, changes: dict[str, object], told: str, tmp_path: Path) -> None:
    assert told in outcome(history(tmp_path / "run", loss, **changes))


def test_of_one_layer_nothing_is_said_to_be_saved(tmp_path: Path) -> None:
    one = {**SIZES, "num_layers": 1}
    a_step = training_flops(SHAPE.model_copy(update={"num_layers": 1}), 1, 32, 1) * TOKENS_PER_STEP / 32
    run = RunHistory.read(write_run(tmp_path / "run", [(10 * a_step / 1e12, log(10))], model=one))
    assert outcome(run).endswith(f"(perplexity 10) after 10 steps for {flops_in_words(10 * a_step)}.")
