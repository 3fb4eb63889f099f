"""Branches side by side with the runs that they go on from."""

from pathlib import Path

import pytest
from branches import branch, lines
from histories import SECONDS_PER_TERAFLOP, TERA, write_run

from apollo_ds.config.recorded import read_recorded, write_recorded
from apollo_ds.experiments.compare.comparison import Comparison
from apollo_ds.experiments.compare.lineage import lineage_remarks, spent_together
from apollo_ds.experiments.history import RunHistory

TRUNK = [(10.0, 5.0), (20.0, 4.0), (30.0, 3.5)]


def test_shared_steps_are_counted_once(tmp_path: Path) -> None:
    trunk = write_run(tmp_path / "trunk", TRUNK, config={"run": "trunk"})
    early = branch(tmp_path / "early", trunk, 10, [(14.0, 3.9)], steps=20)
    later = branch(tmp_path / "later", trunk, 20, [(26.0, 3.2)])
    again = branch(tmp_path / "again", later, 30, [(36.0, 3.0)], steps=40)
    runs = [RunHistory.read(folder) for folder in (trunk, early, later, again)]
    together = spent_together(runs)
    assert together.flops == pytest.approx((30 + 4 + 6 + 10) * TERA)
    assert together.seconds == pytest.approx((30 + 4 + 6 + 10) * SECONDS_PER_TERAFLOP)
    assert spent_together(runs[1:2]).flops == pytest.approx(14 * TERA)  # with what the trunk had spent
    assert [event["step"] for event in runs[3].branches] == [20, 30]


def test_a_branch_s_curve_begins_with_the_other_run_s(tmp_path: Path) -> None:
    trunk = write_run(tmp_path / "trunk", TRUNK, config={"run": "trunk"})
    history = RunHistory.read(branch(tmp_path / "branch", trunk, 20, [(26.0, 3.2)]))
    assert [(point.step, point.loss) for point in history.curve] == [(10, 5.0), (20, 4.0), (30, 3.2)]
    assert history.final.cost.flops == pytest.approx(26 * TERA)
    assert history.start["unigram_entropy"] == 9.0


def test_a_comparison_tells_which_run_a_branch_goes_on_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a long path would not be part of a name
    trunk = write_run(Path("trunk"), TRUNK, config={"run": "trunk"})
    folders = [trunk, branch(Path("branch"), trunk, 20, [(26.0, 3.2)])]
    comparison = Comparison.of(folders)
    assert [group.name for group in comparison.groups] == ["scratch", f"scratch,branch_from={trunk}@20"]
    told = lineage_remarks([run for group in comparison.groups for run in group.runs])
    assert told[0].startswith(f"{folders[1]} goes on from {trunk}, step 20: 2e+13 of its FLOPs")
    assert told[1].startswith("All of these runs together took 3.6e+13 FLOPs and 36 seconds")
    assert lineage_remarks([RunHistory.read(trunk)]) == []


def test_branches_of_several_seeds_are_one_recipe(tmp_path: Path) -> None:
    folders = []
    for seed in (1, 2):
        trunk = write_run(tmp_path / f"trunk{seed}", TRUNK, config={"run": f"trunk{seed}"}, seed=seed)
        folders.append(branch(tmp_path / f"branch{seed}", trunk, 20, [(26.0, 3.2)], seed=seed))
    (group,) = Comparison.of(folders).groups
    assert [run.seed for run in group.runs] == [1, 2]


def test_the_stages_of_a_branch_follow_those_of_the_other_run(tmp_path: Path) -> None:
    trunk = write_run(tmp_path / "trunk", TRUNK, growth_at=10, config={"run": "trunk"})
    record = lines(branch(tmp_path / "branch", trunk, 20, [(26.0, 3.2)], growth_at=0))
    stages = {event["step"]: event["stage"] for event in record if event["event"] == "step"}
    assert (stages[20], stages[21]) == (1, 1)
    read = {event["step"]: event["stage"] for event in RunHistory.read(tmp_path / "branch").steps}
    assert (read[10], read[20], read[21]) == (0, 1, 2)


def test_two_runs_of_one_recipe_are_two(tmp_path: Path) -> None:
    """Their identity does not say where they are, or how often they were evaluated."""
    twins = [write_run(tmp_path / name, TRUNK, config={"run": "same"}) for name in ("one", "other")]
    assert spent_together([RunHistory.read(folder) for folder in twins]).flops == pytest.approx(60 * TERA)


def test_branches_off_trunks_of_other_recipes_are_apart(tmp_path: Path) -> None:
    folders = []
    for name, rate in (("fast", 3e-3), ("slow", 3e-4)):
        trunk = write_run(tmp_path / name, TRUNK, config={"run": name}, learning_rate=rate)
        folder = branch(tmp_path / f"after-{name}", trunk, 20, [(26.0, 3.2)])
        recorded = read_recorded(folder / "config.yaml").model_dump(exclude_none=True)
        recorded["recipe"]["branch_from"]["learning_rate"] = rate
        write_recorded(folder / "config.yaml", recorded)
        folders.append(folder)
    assert len(Comparison.of(folders).groups) == 2
