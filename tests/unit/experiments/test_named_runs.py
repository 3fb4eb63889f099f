"""Which folders `apollo-ds compare` takes for runs, and how wide what it prints is."""

import re
from pathlib import Path

import pytest
from comparisons import SCRATCH, scratch
from fixed_models import write_fixed
from histories import write_run

from apollo_ds.__main__ import main
from apollo_ds.errors import UserError
from apollo_ds.experiments.compare.comparison import Comparison
from apollo_ds.experiments.compare.named_runs import named_runs


def test_a_folder_stands_for_the_runs_in_it(tmp_path: Path) -> None:
    runs = scratch(tmp_path / "runs")
    (tmp_path / "runs" / "notes").mkdir()
    other = write_run(tmp_path / "other", SCRATCH)
    assert named_runs([tmp_path / "runs", other]) == [*runs, other]


def test_of_the_runs_in_a_folder_the_first_from_scratch_is_the_baseline(tmp_path: Path) -> None:
    apollo = write_run(tmp_path / "a", SCRATCH, "apollo")
    write_run(tmp_path / "b", [], finished=False)
    scratch(tmp_path)
    comparison = Comparison.of([tmp_path])
    assert (comparison.baseline.name, comparison.groups[0].name) == ("scratch", "apollo")
    assert comparison.left_out == [f"Left out: {tmp_path / 'b'}/metrics.jsonl: no held-out loss is recorded yet."]
    assert Comparison.of([apollo, tmp_path]).baseline.name == "apollo"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("none", "there is no such folder; name a run's"),
        ("file", "not a folder; name a run's"),
        ("empty", "not a run folder; it has no metrics.jsonl, and holds no run folders"),
        (".", r"not a run folder; it has no metrics.jsonl, and holds no run folders; did you mean .*/runs\?"),
    ],
)
def test_what_is_no_run_is_told(name: str, told: str, tmp_path: Path) -> None:
    scratch(tmp_path / "runs")
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=f"^{re.escape(str(tmp_path / name))}: {told}$"):
        named_runs([tmp_path / name])


def test_the_command_prints_no_table_wider_than_80_columns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    options = {"name": "apollo", "sampler": "es", "layers": [3, 6, 12], "grow_at": [0.25, 0.5]}
    runs = [
        write_run(tmp_path / "runs" / f"a{rate}{n}", [(5.5, 9.0), (20.0 + n, 3.6 + n / 10)], options, seed=n, **changes)
        for n in (1, 2, 3)
        for rate in (0.001, 0.002)
        if (changes := {"learning_rate": rate})
    ]
    costs = ((10.0, 4.0), (20.0, 3.5), (40.0, 3.0))
    for layers in (3, 6):
        for cost, end in costs:
            changes = {"learning_rate": layers / 1000}
            write_fixed(tmp_path / "fixed" / f"{layers}-{cost}", cost, end - layers / 100, layers, **changes)
    main(["compare", str(runs[0].parent), "--frontier", str(tmp_path / "fixed")])
    tables = [line for line in capsys.readouterr().out.splitlines() if line.startswith(" ")]
    assert len(tables) > 20
    assert max(len(line.rstrip()) for line in tables) <= 80
    assert "…" not in "".join(tables)
