"""Which model of a run is asked: that of its newest checkpoint, or of a step, wherever its export stands."""

import json
import shutil
from pathlib import Path

import pytest
from asking import Capture, output, refusal
from transformers import AutoModelForCausalLM

from apollo_ds.config.run_folder import RunFolder
from apollo_ds.inference.model_folder import model_folder
from apollo_ds.training.export_run import export_run
from data_prep import files

OLD = Path(__file__).parents[2] / "fixtures" / "format_2"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run with a checkpoint of step 8 and no export, beside its text, in the working directory."""
    shutil.copytree(OLD / "run", tmp_path / "run")
    shutil.copytree(OLD / "text", tmp_path / "text")
    monkeypatch.chdir(tmp_path)
    return RunFolder(Path("run"))


def weights(folder: str) -> float:
    return float(sum(p.double().sum() for p in AutoModelForCausalLM.from_pretrained(folder).parameters()))


def test_a_run_without_an_export_is_exported_for_a_while(run: RunFolder) -> None:
    export_run(run, Path("expected"))
    with model_folder("run") as source:
        assert source is not None
        assert weights(source) == weights("expected")
    assert not Path(source).exists()
    assert not run.export.exists()


def test_an_export_of_the_newest_checkpoint_is_taken_as_it_is(run: RunFolder) -> None:
    export_run(run, run.export)
    for step in (None, 8):
        with model_folder("run", step) as source:
            assert source is None


def test_an_older_export_is_not_taken_for_the_newest(run: RunFolder) -> None:
    export_run(run, run.export)
    values, _ = files.read_hashed(run.export / "manifest.json")
    files.write_hashed(run.export / "manifest.json", {**values, "step": 7})
    with model_folder("run") as source:
        assert source is not None


def test_where_only_the_export_is_left_it_is_taken(run: RunFolder) -> None:
    export_run(run, run.export)
    shutil.rmtree(run.checkpoints)
    with model_folder("run") as source:
        assert source is None


def test_a_run_writes_text_from_its_folder_alone(run: RunFolder, capsys: Capture) -> None:
    (told,) = json.loads(output(capsys, "generate", "run", "the cat", "--json"))
    assert told["tokens"] > 0
    assert not run.export.exists()


@pytest.mark.parametrize("name", ["model.safetensors", "manifest.json"])
def test_a_damaged_export_is_refused(name: str, run: RunFolder, capsys: Capture) -> None:
    export_run(run, run.export)
    content = (run.export / name).read_bytes()
    (run.export / name).write_bytes(content[:-9])
    said = refusal(capsys, "generate", "run", "the cat")
    assert said.startswith(f"run/export/{name}: ")
    assert "remove run/export and write it again with `apollo-ds export run run/export`" in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("./nowhere", "a"), "./nowhere: no such folder"),
        (("text", "a"), "text: is a folder of prepared text, not of a run"),
        (("run", "a", "--step", "5"), "run/checkpoints: no such checkpoint; there are step-8"),
    ],
)
def test_what_is_no_model_is_told(words: tuple[str, ...], said: str, run: RunFolder, capsys: Capture) -> None:
    assert refusal(capsys, "generate", *words).startswith(said)


def test_a_run_among_others_is_meant_by_its_name(run: RunFolder, capsys: Capture) -> None:
    Path("runs").mkdir()
    Path("run").rename("runs/mine")
    assert refusal(capsys, "generate", "mine", "a") == "mine: no such folder; did you mean runs/mine?"
