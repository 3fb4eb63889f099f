"""What a newcomer runs: every family over the default recipe and its default text, and the scripts in examples/."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from launching import SCRIPT, environment, finish, start
from project import PROJECT
from transformers import AutoConfig, AutoTokenizer, pipeline

from apollo_ds.experiments.events import read_metrics
from apollo_ds.models.families import FAMILIES


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_default_recipe_learns_its_text_and_leaves_a_model(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("launching.TIMEOUT_SECONDS", 1500)
    out = tmp_path / "run"
    code, output = finish(start("bash", SCRIPT, f"out={out}", f"model.family={family}"))
    assert code == 0, output
    recorded = read_metrics(out / "metrics.jsonl")
    first, last = recorded[0], recorded[-1]
    assert (first["event"], last["event"]) == ("start", "end")
    masked = FAMILIES[family].is_masked
    learned = 0.2 if masked else 1.0  # masked models begin slowly: 600 steps are few
    assert last["loss"] < first["unigram_entropy"] - learned
    growth = next(event for event in recorded if event["event"] == "growth")
    assert growth["loss_after"] == pytest.approx(growth["loss_before"], abs=0.1)
    assert (out / "report" / "report.md").is_file()

    tokenizer = AutoTokenizer.from_pretrained(out / "export")
    assert AutoConfig.from_pretrained(out / "export").num_hidden_layers == growth["to"]
    torch.manual_seed(0)
    if masked:
        filled = pipeline("fill-mask", model=str(out / "export"))(f"return the {tokenizer.mask_token} of the list")
        assert len({guess["token_str"] for guess in filled}) == 5
    else:
        written = pipeline("text-generation", model=str(out / "export"))("The function returns", max_new_tokens=20)
        assert len(written[0]["generated_text"]) > len("The function returns") + 20


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("script", "told", "left"),
    [
        ("pretrain_on_your_text", "\nThe function returns", "runs/my/export/model.safetensors"),
        ("compare_two_methods", "\nAnswer: ", "comparison/compare.md"),
        ("grow_a_hugging_face_model", "\nLlamaModel of 6 layers", "runs/deeper/export/model.safetensors"),
    ],
    ids=["pretrain", "compare", "grow"],
)
def test_a_script_runs_as_a_newcomer_starts_it(script: str, told: str, left: str, tmp_path: Path) -> None:
    shell = {key: value for key, value in environment().items() if key != "MASTER_PORT"}  # two runs at once need two
    command = [sys.executable, str(PROJECT / "examples" / f"{script}.py"), "--out", str(tmp_path / "here")]
    done = subprocess.run(command, env=shell, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert told in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert (tmp_path / "here" / left).is_file()
