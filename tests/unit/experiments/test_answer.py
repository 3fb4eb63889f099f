"""What a comparison says before its tables."""

from pathlib import Path
from typing import Any

import pytest
from comparisons import SCRATCH, scratch
from fixed_models import write_fixed
from histories import TERA, write_run

from apollo_ds.experiments.compare.answer import opening
from apollo_ds.experiments.compare.comparison import Comparison

FAST = [(40, 2.5), (50, 2.0)]
"""Comes to the loss of `SCRATCH` for half of its FLOPs."""


def told(*folders: Path, **options: Any) -> list[str]:
    return opening(Comparison.of(folders, **options))


def test_the_cheapest_recipe_is_named_with_what_it_saves(tmp_path: Path) -> None:
    fast = [write_run(tmp_path / f"a{n}", [(40, 2.5), (50 + n, 2.0)], "apollo", seed=n) for n in (1, 2)]
    slow = [write_run(tmp_path / f"p{n}", [(40, 2.5), (90, 1.9)], "pld", seed=n) for n in (1, 2)]
    (answer,) = told(*scratch(tmp_path), *fast, *slow)
    saved = "apollo comes to 2.0000 nats per token, the final loss of scratch, with 48.5% ± 0.7% fewer FLOPs"
    assert answer == f"{saved}, the fewest of 3 recipes. The lowest loss is that of pld (1.9000)."


def test_a_loss_that_not_every_seed_comes_to_is_not_said_to_be_out_of_reach(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / f"a{n}", [(40, 3.0), (90, loss)], "apollo", seed=n) for n, loss in ((1, 1.5), (2, 2.25))
    ]
    answer, *_ = told(*scratch(tmp_path), *runs)
    assert answer.startswith(
        "No other recipe comes to 2.0000 nats per token, the final loss of scratch, with each of its seeds: the "
        "nearest is apollo (1.8750)."
    )


@pytest.mark.parametrize(
    ("curve", "answer"),
    [
        (FAST, "apollo comes to 2.0000 nats per token, the final loss of scratch, with 50.0% fewer FLOPs."),
        (
            [(40, 3.0), (120, 2.0)],
            "No other recipe comes to 2.0000 nats per token, the final loss of scratch, for fewer FLOPs: apollo takes "
            "20.0% more.",
        ),
        (
            [(40, 3.0), (120, 2.25)],
            "No other recipe comes to 2.0000 nats per token, the final loss of scratch: the nearest is apollo "
            "(2.2500).",
        ),
    ],
)
def test_one_seed_is_said_to_tell_nothing_from_chance(
    curve: list[tuple[float, float | None]], answer: str, tmp_path: Path
) -> None:
    runs = [write_run(tmp_path / "s", SCRATCH), write_run(tmp_path / "a", curve, "apollo")]
    assert told(*runs) == [f"{answer} One seed cannot tell this from chance."]


def test_a_saving_within_its_spread_is_said_to_be(tmp_path: Path) -> None:
    ends = {1: 60, 2: 130}
    runs = [write_run(tmp_path / f"a{n}", [(40, 2.5), (end, 2.0)], "apollo", seed=n) for n, end in ends.items()]
    (answer,) = told(*scratch(tmp_path), *runs)
    assert "with 5.0% ± 49.5% fewer FLOPs. Its seeds are as far apart as that, so it may be chance." in answer


def test_the_cost_of_a_source_counts(tmp_path: Path) -> None:
    begun = {"source": "runs/small"}
    known = {**begun, "source_flops": 20 * TERA, "source_tokens": 500, "source_seconds": 20.0}
    baseline = write_run(tmp_path / "s", SCRATCH)
    (answer,) = told(baseline, write_run(tmp_path / "a", FAST, "net2net", start=known))
    assert "with 30.0% fewer FLOPs, counting the model that it starts from. One seed" in answer
    both = [write_run(tmp_path / f"{name}2", SCRATCH, name, start=known) for name in ("scratch", "apollo")]
    assert "for fewer FLOPs: apollo takes 0.0% more, counting the model that it starts from." in told(*both)[0]
    (answer,) = told(baseline, write_run(tmp_path / "b", FAST, "net2net", start=begun))
    assert "with 50.0% fewer FLOPs, without the model that it starts from, whose cost is not known. One" in answer


def test_a_run_alone_is_told_with_its_loss_and_cost(tmp_path: Path) -> None:
    run = write_run(tmp_path / "s", SCRATCH)
    assert told(run) == ["scratch comes to a held-out loss of 2.0000 nats per token for 1e+14 FLOPs (1 seed)."]
    under_way = write_run(tmp_path / "u", SCRATCH[:2], finished=False)
    state = "unfinished (step 20 of 30)"
    assert told(under_way) == [f"scratch is {state}. Its held-out loss so far is 2.5000 nats per token."]


def test_a_baseline_that_is_under_way_gives_no_answer_yet(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "s", SCRATCH[:2], finished=False), write_run(tmp_path / "a", FAST, "apollo")]
    why = "no run of it has come to its end. The lowest loss so far is that of apollo (2.0000)."
    assert told(*runs) == [f"There is no loss of the baseline, scratch, to reach: {why}"]


def test_what_learned_nothing_or_hardly_anything_is_named(tmp_path: Path) -> None:
    def of_entropy(entropy: float) -> list[str]:
        start = {"unigram_entropy": entropy}
        folder = tmp_path / str(entropy)
        curves = {"scratch": SCRATCH, "apollo": FAST, "pld": [(40, 5.0), (80, 4.0)]}
        return told(*(write_run(folder / name, curve, name, start=start) for name, curve in curves.items()))

    guess = "the unigram entropy of the text, which a guess without context comes to, is"
    answer, nothing = of_entropy(3.0)
    assert nothing == f"Nothing was learned by pld (4.0000): {guess} 3.0000 nats per token."
    assert answer.startswith("apollo comes to")
    answer, nothing, hardly = of_entropy(2.05)
    less = "less than 5% below the unigram entropy of the text, 2.0500 nats per token. Train for longer to compare."
    assert hardly == f"Hardly anything was learned by scratch (2.0000) and apollo (2.0000): {less}"
    nothing, answer = of_entropy(2.0)
    assert nothing.startswith("Nothing was learned by scratch (2.0000) and apollo (2.0000) and pld (4.0000): ")
    assert answer.startswith("No saving is given, because the baseline, scratch, learned nothing")


@pytest.mark.parametrize(
    ("loss", "answer"),
    [
        (3.4, "apollo ends 0.1000 nats per token below the best fixed model of its cost, 6 layers (1 seed)."),
        (
            3.6,
            "No recipe ends below the best fixed model of its cost. The nearest is apollo, 0.1000 nats per token above "
            "it (1 seed).",
        ),
    ],
)
def test_against_fixed_models_the_best_recipe_is_named(loss: float, answer: str, tmp_path: Path) -> None:
    fixed = [write_fixed(tmp_path / f"f{cost}", cost, end) for cost, end in ((10.0, 4.0), (20.0, 3.5), (40.0, 3.0))]
    run = write_run(tmp_path / "a", [(10.0, 9.0), (20.0, loss)], "apollo", seed=1)
    assert told(run, frontier=fixed) == [f"{answer} One seed cannot tell this from chance."]
    beyond = write_run(tmp_path / "b", [(10.0, 9.0), (80.0, loss)], "apollo", seed=1)
    assert told(beyond, frontier=fixed)[0].startswith("No recipe can be compared with fixed models: none of these was")


def test_no_operations_are_saved_where_nothing_was_learned(tmp_path: Path) -> None:
    start = {"unigram_entropy": 3.2}
    fixed = [write_fixed(tmp_path / f"f{cost}", cost, end) for cost, end in ((10.0, 4.0), (20.0, 3.5), (40.0, 3.0))]
    run = write_run(tmp_path / "a", [(10.0, 9.0), (20.0, 3.4)], "apollo", seed=1, start=start)
    nothing, answer = told(run, frontier=fixed)
    assert nothing.startswith("Nothing was learned by apollo (3.4000): ")
    assert answer.startswith("No recipe can be compared with fixed models")
