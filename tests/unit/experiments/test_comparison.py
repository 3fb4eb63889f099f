"""Runs side by side: every number on the page can be worked out by hand from the folders written here."""

from io import StringIO
from pathlib import Path

import pytest
from comparisons import SCRATCH, page, row, scratch
from histories import TERA, rows, write_run
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from apollo_ds.errors import UserError
from apollo_ds.experiments.compare.comparison import Comparison
from apollo_ds.experiments.compare.figures import draw
from apollo_ds.experiments.compare.measures import saving, speed_up
from apollo_ds.experiments.compare.page import lines_of, print_comparison


def refusal(*folders: Path, baseline: str | None = None) -> str:
    with pytest.raises(UserError) as caught:
        Comparison.of(folders, baseline)
    return str(caught.value)


def test_seeds_of_a_recipe_are_one_group_whatever_their_folders_are_called(tmp_path: Path) -> None:
    text = page([*scratch(tmp_path), write_run(tmp_path / "s4", SCRATCH, "apollo", seed=1)])
    first, second = rows(text, "final held-out loss")
    assert (first["recipe"], first["seeds"], first["final held-out loss"]) == ("scratch", "1, 2, 3", "2.0000 ± 0.1000")
    assert (second["recipe"], second["seeds"], second["final held-out loss"]) == ("apollo", "1", "2.0000")
    assert [run["seed"] for run in rows(text, "run")] == ["1", "2", "3", "1"]
    assert "The recipes differ in the method alone." in text


def test_costs_and_savings_at_the_baseline_s_mean_final_loss(tmp_path: Path) -> None:
    # Reached at 50 TFLOPs, half-way between two evaluations, and at 80, on an evaluation; a TFLOP takes half a second.
    fast = write_run(tmp_path / "a1", [(20, 3.0), (40, 2.5), (60, 1.5)], "apollo", seed=1, speed=2)
    slow = write_run(tmp_path / "a2", [(20, 3.0), (80, 2.0), (120, 1.0)], "apollo", seed=2, speed=2)
    text = page([*scratch(tmp_path), fast, slow])
    assert "the final held-out loss of scratch, 2.0000 nats per token, the mean of 3 seeds." in text
    assert list(row(text, "saving S", "scratch (baseline)").values())[1:6] == ["sets it", "1e+14", "-", "-", "3,000"]
    assert row(text, "saving S", "apollo") == {
        "recipe": "apollo",
        "reached by": "2 of 2",
        "FLOPs": "6.5e+13 ± 32.6%",
        "saving S": "35.0% ± 21.2%",
        "speed-up U": "53.8% ± 53.0%",
        "tokens": "2,250 ± 15.7%",
        "seconds": "32 ± 32.6%",
        "S of time": "67.5% ± 10.6%",
        "U of time": "207.7% ± 106.1%",
        "wall / FLOPs saving": "1.93",
    }
    by_seed = [(run["FLOPs to the loss"], run["saving S"], run["speed-up U"]) for run in rows(text, "run")[3:]]
    assert by_seed == [("5e+13", "50.0%", "100.0%"), ("8e+13", "20.0%", "25.0%")]


@given(st.floats(1, 1e6), st.floats(1, 1e6))
def test_saving_and_speed_up_are_one_thing_on_two_scales(cost: float, baseline: float) -> None:
    s, u = saving(cost, baseline), speed_up(cost, baseline)
    assert s == pytest.approx(u / (1 + u), rel=1e-6, abs=1e-6)
    assert (s > 0) == (u > 0) == (cost < baseline)


@pytest.mark.parametrize(
    ("held_out", "finished", "expected"),
    [
        ([(40, 3.0), (80, 2.125), (90, 2.5)], True, "never (best 2.1250)"),
        ([(40, 3.0), (80, 2.5)], False, "not yet (best 2.5000)"),
        ([(40, None), (80, None), (90, None)], True, "never (best not finite)"),
    ],
)
def test_a_loss_that_is_not_reached_is_said_and_never_a_number(
    held_out: list[tuple[float, float | None]], finished: bool, expected: str, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "a", held_out, "apollo", finished=finished)
    found = list(row(page([*scratch(tmp_path), run]), "saving S", "apollo").values())
    assert found[1:] == [expected, *["-"] * 8]


def test_a_mean_of_those_seeds_that_reach_the_loss_is_not_given(tmp_path: Path) -> None:
    reaches = write_run(tmp_path / "a1", [(20, 3.0), (60, 1.0)], "apollo", seed=1)
    misses = write_run(tmp_path / "a2", [(20, 3.0), (60, 2.25)], "apollo", seed=2)
    text = page([*scratch(tmp_path), reaches, misses])
    assert list(row(text, "saving S", "apollo").values())[1:3] == ["1 of 2 (others: best 2.2500)", "-"]
    assert [run["FLOPs to the loss"] for run in rows(text, "run")[3:]] == ["4e+13", "never (best 2.2500)"]


@pytest.mark.parametrize(("entropy", "learned"), [(1.5, False), (2.0, False), (2.5, True)])
def test_no_saving_is_given_at_a_loss_that_a_guess_without_context_has(
    entropy: float, learned: bool, tmp_path: Path
) -> None:
    start = {"unigram_entropy": entropy}
    folders = [write_run(tmp_path / name, SCRATCH, name, start=start) for name in ("scratch", "apollo")]
    text = page(folders)
    assert ("saving S" in text) == learned
    assert ("## At equal loss" in text) == learned
    told = (
        "Nothing was learned by scratch (2.0000) and apollo (2.0000): the unigram entropy of the text, which a guess "
    )
    assert text.startswith(told) != learned
    assert ("\nNo saving is given, because the baseline, scratch, learned nothing" in text) != learned
    assert ("wall_saving" in text) == learned
    comparison = Comparison.of(folders)
    assert ("saving_against_loss.png" in draw(comparison.groups, comparison.baseline, comparison.target)) == learned
    console = Console(record=True, file=StringIO())
    print_comparison(comparison, console)
    assert ("saving S" in (told := console.export_text())) == learned
    assert told.startswith("Nothing was learned by scratch (2.0000) and apollo") != learned


def test_a_saving_of_one_seed_is_said_to_be(tmp_path: Path) -> None:
    text = page([*scratch(tmp_path), write_run(tmp_path / "a", SCRATCH, "apollo")])
    assert "\nOf one seed, so that a saving has no spread and may be chance: apollo.\n" in text
    assert "Of one seed" not in page([*scratch(tmp_path / "b")])


def test_a_run_whose_loss_rises_again_is_marked(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", [(20, 3.0), (60, 1.0), (90, 2.5)], "apollo")
    assert row(page([*scratch(tmp_path), run]), "saving S", "apollo")["reached by"] == "1 of 1†"


def test_a_baseline_whose_loss_rises_is_measured_as_the_others_are(tmp_path: Path) -> None:
    baseline = write_run(tmp_path / "s", [(40, 3.0), (60, 1.0), (100, 2.0)])
    target = Comparison.of([baseline]).target
    assert target is not None
    assert (target.loss, target.cost.flops) == (2.0, 50 * TERA)


def test_losses_at_equal_flops_are_interpolated(tmp_path: Path) -> None:
    a1 = write_run(tmp_path / "a1", [(25, 3.0), (75, 2.0), (125, 1.0)], "apollo", seed=1)
    a2 = write_run(tmp_path / "a2", [(25, 3.5), (75, 2.5), (125, 1.5)], "apollo", seed=2)
    ended = write_run(tmp_path / "p", [(40, 3.0), (80, 2.2)], "pld")
    going_on = write_run(tmp_path / "m", [(20, 3.0), (60, 2.2)], "mslt", finished=False)
    text = page([write_run(tmp_path / "s", SCRATCH), a1, a2, ended, going_on])
    at = {recipe: list(row(text, "50%: 5e+13 FLOPs", recipe).values())[1:] for recipe in ("apollo", "pld", "mslt")}
    assert at["apollo"] == ["3.2500 ± 0.3536", "2.7500 ± 0.3536", "2.2500 ± 0.3536", "1.7500 ± 0.3536"]
    assert at["pld"] == ["-", "2.8000", "2.3000", "2.2000 (ended at 80%)"]
    assert at["mslt"] == ["2.9000", "2.4000", "not yet", "not yet"]


def test_unfinished_seeds_are_shown_and_in_no_mean(tmp_path: Path) -> None:
    a1 = write_run(tmp_path / "a1", [(40, 3.0), (80, 1.5)], "apollo", seed=1)
    a2 = write_run(tmp_path / "a2", [(40, 9.0)], "apollo", seed=2, finished=False)
    text = page([*scratch(tmp_path), a1, a2])
    found = row(text, "final held-out loss", "apollo")
    assert (found["seeds"], found["state"]) == ("1, 2", "seed 2 unfinished (step 10 of 30)")
    assert found["final held-out loss"] == "1.5000"
    assert "apollo: seed 2 has not finished and is in no mean or figure." in text
    assert row(text, "saving S", "apollo")["reached by"] == "1 of 1"


def test_an_unfinished_baseline_sets_no_loss(tmp_path: Path) -> None:
    baseline = write_run(tmp_path / "s", SCRATCH, finished=False)
    text = page([baseline, write_run(tmp_path / "a", SCRATCH, "apollo")])
    assert "no loss of the baseline, scratch, to reach: no run of it has come to its end." in text
    assert row(text, "final held-out loss", "scratch")["final held-out loss"] == "2.0000 so far"
    assert "saving S" not in text


def test_a_baseline_that_diverged_sets_no_loss_and_is_named(tmp_path: Path) -> None:
    diverged = write_run(tmp_path / "s1", [*SCRATCH[:2], (100, None)], seed=1)
    text = page([diverged, write_run(tmp_path / "s2", SCRATCH, seed=2)])
    assert "saving S" not in text
    other = write_run(tmp_path / "a", SCRATCH, "apollo", seed=1)
    text = page([diverged, tmp_path / "s2", other])
    assert "to reach: seed 1 and seed 2 did not all end with a finite loss." in text


def test_a_run_without_a_held_out_loss_yet_is_named_and_left_out(tmp_path: Path) -> None:
    early = write_run(tmp_path / "early", [], finished=False)
    text = page([write_run(tmp_path / "s", SCRATCH), early])
    assert f"Left out: {early}/metrics.jsonl: no held-out loss is recorded yet." in text
    why = f"{early}/metrics.jsonl: no held-out loss is recorded yet"
    assert refusal(early) == why
    assert refusal(early, tmp_path / "s") == why  # the first one is the baseline
    assert refusal(tmp_path / "s", early, baseline=str(early)) == why


def test_the_best_rate_of_each_recipe_can_be_shown_alone(tmp_path: Path) -> None:
    ends = {("scratch", 0.001): 2.5, ("scratch", 0.002): 2.0, ("scratch", 0.004): 2.25, ("apollo", 0.001): 2.0}
    ends |= {("apollo", 0.002): 1.5, ("pld", 0.002): 3.0}
    folders = [
        write_run(tmp_path / f"{method}{rate}", [*SCRATCH[:2], (100, end)], method, learning_rate=rate)
        for (method, rate), end in ends.items()
    ]
    comparison = Comparison.of(folders, tuned=True)
    text = "\n".join(lines_of(comparison))
    names = [found["recipe"] for found in rows(text, "final held-out loss")]
    assert names == ["scratch,learning_rate=0.002", "apollo,learning_rate=0.002", "pld"]
    assert comparison.baseline.name == names[0]
    for named in (folders[3], "apollo,learning_rate=0.001"):  # its rate is not the best, its recipe is shown at that
        assert Comparison.of(folders, str(named), tuned=True).baseline.name == names[1]
    assert "apollo,learning_rate=0.002 has the highest rate that was tried for it; one beyond may be better." in text
    assert "scratch,learning_rate=0.002 has" not in text  # it lies between two others
    assert "pld has" not in text  # no other was tried


def test_stages_show_where_flops_and_time_went(tmp_path: Path) -> None:
    # One TFLOP a step of 100 tokens, then four; the baseline takes 100 TFLOPs and 100 s for 3,000 tokens.
    apollo = write_run(tmp_path / "a", [(10, 4.5), (50, 3.25)], "apollo", growth_at=10, speed=0.5)
    text = page([write_run(tmp_path / "s", SCRATCH), apollo]).split("### apollo")[1]
    stages = [list(stage.values()) for stage in rows(text, "mean depth")]
    # Of a token: 1 - 0.3 FLOPs and 1 - 0.6 seconds, 0.4 / 0.7; then FLOPs are lost, not saved.
    assert stages[0] == ["1", "1", "10", "2.00", "1e+13", "20", "4.0625", "20.0%", "20.0%", "0.57"]
    assert stages[1] == ["2", "3", "10", "3.00", "4e+13", "80", "3.2500", "80.0%", "80.0%", "-"]


def test_growths_show_the_loss_around_them(tmp_path: Path) -> None:
    seeds = [write_run(tmp_path / f"a{n}", [(10, 4.5), (50, 3.25)], "apollo", growth_at=10, seed=n) for n in (1, 2)]
    growth = row(page([*scratch(tmp_path), *seeds]), "loss before", "apollo")
    assert list(growth.values())[1:5] == ["1 -> 3", "10", "4.0625 ± 0.0000", "4.1250 ± 0.0000"]
    assert list(growth.values())[5:] == ["+0.0625", "3.2500 ± 0.0000", "0.5"]
