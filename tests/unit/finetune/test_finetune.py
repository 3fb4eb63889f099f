"""Fine-tuning: that it learns, that a seed decides everything, and that what is done is not done again."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from no_locks import without_locks
from tiny_models import exported, write_separable

from apollo_ds.__main__ import main
from apollo_ds.finetune.classification import Classification
from apollo_ds.finetune.pretrained import Pretrained
from apollo_ds.finetune.problem import Problem
from apollo_ds.finetune.training import Epoch, FineTuning

Capture = pytest.CaptureFixture[str]
QUICK = ("--learning-rate", "1e-2", "--batch-size", "16", "--max-length", "24")


def finetune(out: Path, data: Path, *options: str, model: Path | str | None = None, task: str = "sst2") -> None:
    """The command, quick enough for a test."""
    words = [str(model or exported("bert")), "--task", task, "--data", str(data), "--out", str(out), *QUICK, *options]
    main(["finetune", *words])


def results(out: Path) -> dict[str, Any]:
    return json.loads((out / "results.json").read_text())


def metrics(out: Path) -> list[Any]:
    """All that a seed decides."""
    return [(run["seed"], run["learning_rate"], run["epochs"]) for run in results(out)["runs"]]


def refusal(capsys: Capture, *arguments: Any, **options: Any) -> str:
    with pytest.raises(SystemExit) as caught:
        finetune(*arguments, **options)
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("apollo-ds: ")
    assert printed.err.count("\n") == 1
    return printed.err.removeprefix("apollo-ds: ").rstrip("\n")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_separable(tmp_path / "data")


@pytest.mark.parametrize("family", ["bert", "roberta_prelayernorm", "gpt2"])
def test_a_separable_task_is_learned(family: str, tmp_path: Path, capsys: Capture) -> None:
    data = write_separable(tmp_path / "data", train=320)
    finetune(tmp_path / "out", data, "--seeds", "1", "--epochs", "6", model=exported(family))
    found = results(tmp_path / "out")
    (run,) = found["runs"]
    assert found["baseline"] == {"accuracy": 0.5}
    assert run["final"]["accuracy"] >= 0.95
    assert run["epochs"][-1]["loss"] < run["epochs"][0]["loss"]
    assert [epoch["epoch"] for epoch in run["epochs"]] == list(range(1, 7))
    printed = capsys.readouterr().out
    assert "most frequent label" in printed
    assert f"accuracy {100 * run['final']['accuracy']:.1f} (one seed) at learning rate 0.01" in printed
    assert str(tmp_path / "out" / "results.md") in printed


def test_a_seed_decides_every_number(data: Path, tmp_path: Path) -> None:
    for name in ("once", "again"):
        finetune(tmp_path / name, data, "--seeds", "2", "--epochs", "2")
    assert metrics(tmp_path / "once") == metrics(tmp_path / "again")
    first, second = results(tmp_path / "once")["runs"]
    assert first["epochs"][0]["loss"] != second["epochs"][0]["loss"]


def test_a_seed_draws_the_head_and_nothing_else(data: Path) -> None:
    pretrained = Pretrained.open(str(exported("bert")))
    problem = Classification.read("sst2", data, None).problem(pretrained, 24)
    one, same, other = (
        dict(pretrained.build(problem.auto_class, problem.config, seed).named_parameters()) for seed in (1, 1, 2)
    )
    assert all(torch.equal(one[name], same[name]) for name in one)
    drawn = {name.split(".")[0] for name in one if not torch.equal(one[name], other[name]) and ".pooler." not in name}
    assert drawn == {"classifier"}
    assert one["classifier.weight"].shape == (2, 32)


def test_a_seed_alone_gives_what_it_gives_among_others(data: Path, tmp_path: Path) -> None:
    finetune(tmp_path / "both", data, "--seeds", "2", "--epochs", "1")
    finetune(tmp_path / "apart", data, "--seeds", "2", "3", "--epochs", "1")
    assert metrics(tmp_path / "both")[1] == metrics(tmp_path / "apart")[0]


_run = FineTuning.run


def _interrupted(tuning: FineTuning, problem: Problem, learning_rate: float, seed: int) -> Iterator[Epoch]:
    """Ctrl-C after the first epoch of seed 2."""
    for epoch in _run(tuning, problem, learning_rate, seed):
        yield epoch
        if seed == 2:
            raise KeyboardInterrupt


def test_an_interrupted_command_goes_on_after_the_last_complete_seed(
    data: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = ("--seeds", "3", "--epochs", "2")
    with monkeypatch.context() as patch:
        patch.setattr(FineTuning, "run", _interrupted)
        with pytest.raises(SystemExit) as caught:
            finetune(tmp_path / "cut", data, *options)
    assert caught.value.code == 75
    assert "run the same command to resume after the last complete seed" in capsys.readouterr().err
    assert [run["seed"] for run in results(tmp_path / "cut")["runs"]] == [1]
    finetune(tmp_path / "cut", data, *options)
    assert "1 of 3 trainings are complete" in capsys.readouterr().out
    finetune(tmp_path / "whole", data, *options)
    assert metrics(tmp_path / "cut") == metrics(tmp_path / "whole")


def test_what_is_complete_is_not_trained_again(
    data: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    finetune(tmp_path / "out", data, "--seeds", "2", "--epochs", "1")
    before = (tmp_path / "out" / "results.json").read_bytes()
    capsys.readouterr()
    monkeypatch.delattr(FineTuning, "run")
    finetune(tmp_path / "out", data, "--seeds", "2", "--epochs", "1")
    printed = capsys.readouterr().out
    assert "2 of 2 trainings are complete" in printed
    assert "most frequent label" in printed
    assert (tmp_path / "out" / "results.json").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--epochs", "2"), "epochs 1, not 2"),
        (("--batch-size", "8"), "batch_size 16, not 8"),
        (("--max-length", "16"), "max_length 24, not 16"),
        (("--max-train-samples", "50"), "max_train_samples None, not 50"),
    ],
)
def test_other_settings_in_the_same_folder_are_refused(
    options: tuple[str, ...], told: str, data: Path, tmp_path: Path, capsys: Capture
) -> None:
    finetune(tmp_path / "out", data, "--seeds", "1", "--epochs", "1")
    line = refusal(capsys, tmp_path / "out", data, "--epochs", "1", *options)
    path = tmp_path / "out" / "results.json"
    assert line == f"{path}: was made with {told}; use the same, or another folder with --out"


def test_another_model_other_data_and_damage_are_refused(data: Path, tmp_path: Path, capsys: Capture) -> None:
    finetune(tmp_path / "out", data, "--seeds", "1", "--epochs", "1")
    path = tmp_path / "out" / "results.json"
    line = refusal(capsys, tmp_path / "out", data, "--epochs", "1", model=exported("gpt2"))
    assert line.startswith(f"{path}: was made with another model, or with another checkpoint of it; ")
    write_separable(data, dev=12)
    line = refusal(capsys, tmp_path / "out", data, "--epochs", "1")
    assert line.startswith(f"{path}: was made with other files of the task; ")
    values = results(tmp_path / "out")
    path.write_text(json.dumps({**values, "hasi": values.pop("hash")}))
    changed = json.loads(json.dumps(values))
    changed["runs"][0]["final"]["accuracy"] = 1.0
    for text in (
        "{",
        "[]",
        path.read_text(),
        json.dumps({**changed, "hash": "0"}),
        json.dumps({**values, "runs": [3]}),
    ):
        path.write_text(text)
        line = refusal(capsys, tmp_path / "out", data, "--epochs", "1")
        assert line == f"{path}: damaged; remove it, or use another folder with --out"


def test_results_of_an_earlier_version_have_no_hash(data: Path, tmp_path: Path, capsys: Capture) -> None:
    finetune(tmp_path / "out", data, "--seeds", "1", "--epochs", "1")
    path = tmp_path / "out" / "results.json"
    values = results(tmp_path / "out")
    del values["hash"]
    path.write_text(json.dumps(values))
    finetune(tmp_path / "out", data, "--seeds", "2", "--epochs", "1")
    assert "1 of 2 trainings are complete" in capsys.readouterr().out
    assert "hash" in results(tmp_path / "out")


def test_a_file_system_without_locks_keeps_results_all_the_same(
    data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_locks(monkeypatch)
    finetune(tmp_path / "out", data, "--seeds", "2", "--epochs", "1")
    assert len(results(tmp_path / "out")["runs"]) == 2
    assert caplog.text.count(f"{tmp_path / 'out'}: its file system has no locks") == 1


def test_several_learning_rates_are_a_grid_and_the_best_is_reported(
    data: Path, tmp_path: Path, capsys: Capture
) -> None:
    finetune(tmp_path / "out", data, "--seeds", "2", "--epochs", "6", "--learning-rate", "1e-2", "1e-7", "--json")
    printed = json.loads(capsys.readouterr().out)
    assert printed == results(tmp_path / "out")
    assert [(run["learning_rate"], run["seed"]) for run in printed["runs"]] == [
        (1e-7, 1),
        (1e-7, 2),
        (1e-2, 1),
        (1e-2, 2),
    ]
    finals = [run["final"]["accuracy"] for run in printed["runs"][2:]]
    assert printed["best"]["learning_rate"] == 1e-2
    assert printed["best"]["seeds"] == [1, 2]
    assert printed["best"]["metrics"]["accuracy"] == {
        "median": sum(finals) / 2,
        "min": min(finals),
        "max": max(finals),
    }
    page = (tmp_path / "out" / "results.md").read_text()
    assert "The learning rate is the best of 2 on the same held-out examples" in page
    assert "| most frequent label | - | 50.0 |" in page


def test_nothing_learned_is_said_to_be_so(data: Path, tmp_path: Path, capsys: Capture) -> None:
    finetune(tmp_path / "out", data, "--seeds", "1", "--epochs", "1", "--learning-rate", "1e-9")
    assert "Not better than always giving the most frequent label" in capsys.readouterr().out


def test_a_part_of_the_training_examples_is_the_same_for_every_seed(data: Path) -> None:
    whole = Classification.read("sst2", data, None)
    one, same = (Classification.read("sst2", data, 10) for _ in range(2))
    assert one.train == same.train
    assert len(one.train) == 10
    assert one.train != whole.train[:10]
    assert one.dev == whole.dev


def test_numbers_are_regressed(tmp_path: Path) -> None:
    for split, count in (("train", 64), ("dev", 16)):
        lines = [f"{'cat ' * (i % 6)}sees\tdog\t{i % 6 * 0.9}" for i in range(count)]
        (tmp_path / f"{split}.tsv").write_text("\n".join(["sentence1\tsentence2\tscore", *lines]))
    finetune(tmp_path / "out", tmp_path, "--seeds", "1", "--epochs", "12", model=exported("gpt2"), task="stsb")
    found = results(tmp_path / "out")
    assert found["baseline"] == {}
    assert found["metrics"] == ["spearman", "pearson"]
    assert found["runs"][0]["final"]["pearson"] > 0.9


def test_both_held_out_files_of_mnli_are_measured(tmp_path: Path) -> None:
    row = {"premise": "a cat", "hypothesis": "a dog"}
    for name, labels in (("train", [0, 2, 2]), ("dev_matched", [2, 2]), ("dev_mismatched", [1, 2])):
        lines = [json.dumps({**row, "label": label}) for label in labels]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    finetune(tmp_path / "out", tmp_path, "--seeds", "1", "--epochs", "1", task="mnli")
    found = results(tmp_path / "out")
    assert found["metrics"] == ["accuracy", "accuracy mismatched"]
    assert found["baseline"] == {"accuracy": 1.0, "accuracy mismatched": 0.5}
    assert found["runs"][0]["final"].keys() == set(found["metrics"])
