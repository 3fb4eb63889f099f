"""What names have in common is said once."""

from dataclasses import replace
from pathlib import Path

from histories import write_run

from apollo_ds.experiments.compare.groups import Group
from apollo_ds.experiments.compare.labels import Names, but_for_the_usual, factored
from apollo_ds.experiments.history import RunHistory


def test_what_all_names_have_is_left_out_of_each() -> None:
    names = ["scratch,lr_schedule=wsd", "sprout,first_layers=4,lr_schedule=wsd"]
    assert factored(names) == ("lr_schedule=wsd", ["scratch", "sprout, first_layers=4"])


def test_a_method_that_all_have_is_in_common_unless_it_is_all_that_one_of_them_has() -> None:
    assert factored(["apollo,layers=[2, 6]", "apollo,layers=[3, 6]"]) == ("apollo", ["layers=[2, 6]", "layers=[3, 6]"])
    assert factored(["apollo", "apollo,layers=[3, 6]"]) == ("", ["apollo", "apollo, layers=[3, 6]"])


def test_one_name_is_a_title() -> None:
    assert factored(["apollo,layers=[2, 6]"]) == ("apollo,layers=[2, 6]", [""])


def test_values_that_most_have_are_left_out() -> None:
    names = ["2 layers, decay=0.01", "12 layers, decay=0.01", "12 layers, decay=0.1"]
    assert but_for_the_usual(names) == ("decay=0.01", ["2 layers", "12 layers", "12 layers, decay=0.1"])


def test_the_model_and_seeds_of_all_are_in_the_title(tmp_path: Path) -> None:
    runs = [RunHistory.read(write_run(tmp_path / f"{seed}", [(10, 3.0)], seed=seed)) for seed in (1, 2)]
    both = [Group("scratch,rate=1", tuple(runs)), Group("scratch,rate=2", tuple(runs))]
    assert Names.of(both) == Names("scratch, gpt2 6x32, 2 seeds each", ("rate=1", "rate=2"))
    unlike = [both[0], replace(both[1], runs=(replace(runs[0], finished=False),))]
    assert Names.of(unlike) == Names("scratch, gpt2 6x32", ("rate=1, 2 seeds", "rate=2, seed 1, unfinished"))
