"""The page docs/guides/your-model.md, with a fiftieth of its steps on a model of a few thousand parameters."""

import contextlib
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from corpora import corpus, write_text
from project import PROJECT
from ranks import pool
from runs import train
from saved_models import saved

from apollo_ds.__main__ import main as apollo_ds
from apollo_ds.config.load import load_recipe
from apollo_ds.config.recipe import Recipe
from apollo_ds.config.words import split_recipe
from apollo_ds.engine.processes import Processes
from apollo_ds.experiments.events import read_metrics
from apollo_ds.experiments.history import RunHistory
from data_prep.__main__ import main as apollo_prep

PAGE = (PROJECT / "docs" / "guides" / "your-model.md").read_text()
SMALLER = 50
"""The page's numbers of steps are divided by so much."""
SMALL = {"seq_len": 32, "global_batch_size": 4, "micro_batch_size": 2, "deepspeed": "ds_configs/zero1_cpu.json"}


def in_short(text: str) -> str:
    """The same with fewer steps, and for a small machine."""
    text = re.sub(r"((?:steps|_every)[=:] ?|@)(\d+)", lambda found: f"{found[1]}{int(found[2]) // SMALLER}", text)
    for key, value in SMALL.items():
        text = re.sub(rf"^{key}: .*$", f"{key}: {value}", text, flags=re.MULTILINE)
    return text


def commands() -> list[list[str]]:
    """The page's commands, in order."""
    blocks = re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL)
    return [shlex.split(line.removeprefix("$ ")) for line in in_short("".join(blocks)).splitlines()]


def run_command(words: list[str]) -> Recipe | None:
    """Run one, on ranks that are there already where it trains; the recipe that it trained."""
    if words[0] == "apollo-prep":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", words)
            apollo_prep()
        return None
    if words[1] != "train":
        apollo_ds(words[1:])
        return None
    name, overrides = split_recipe(words[2:])
    recipe = load_recipe(name, overrides)
    assert pool(2).run(train_in, Path.cwd(), recipe) == [None, None]
    return recipe


def train_in(processes: Processes, folder: Path, recipe: Recipe) -> str | None:
    """Train with paths that begin in a folder."""
    with contextlib.chdir(folder):
        return train(processes, recipe)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the model and the text that the page speaks of."""
    sizes = {"hidden_size": 64, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 128}
    more: dict[str, Any] = {"num_hidden_layers": 12, "max_position_embeddings": 512, "rms_norm_eps": 1e-5}
    (tmp_path / "books").mkdir()
    write_text(tmp_path / "books" / "some.jsonl")
    mine = saved(tmp_path / "models" / "mine", "llama", vocab_size=corpus("llama").vocab_size, **sizes, **more)
    for path in corpus("llama").tokenizer_folder.iterdir():
        (mine / path.name).write_bytes(path.read_bytes())
    (recipe,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    (tmp_path / "deeper.yaml").write_text(in_short(recipe))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_s_commands_do_what_it_says(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained = {}
    for words in commands():
        recipe = run_command(words)
        said = " ".join(capsys.readouterr().out.split())  # however wide the terminal is
        if recipe:
            trained[len(trained)] = recipe
        elif words[:3] == ["apollo-ds", "plan", "deeper.yaml"]:
            assert "unchanged" in said if len(words) == 3 else "norm_epsilon must be 6.666667e-06" in said
    deeper, new, wider, continued, longer, decayed = trained.values()

    for recipe, layers in ((deeper, 18), (new, 18), (wider, 18)):
        (growth,) = (event for event in read_metrics(recipe.out / "metrics.jsonl") if event["event"] == "growth")
        assert (growth["from"], growth["to"]) == (12, layers)
        bound = 2e-2 if recipe is wider else 0  # silent layers leave each number as it is; bf16 rounds wider ones
        assert growth["loss_after"] == pytest.approx(growth["loss_before"], abs=bound)
    assert not any(event["event"] == "growth" for event in read_metrics(continued.out / "metrics.jsonl"))
    assert longer.out == deeper.out
    assert RunHistory.read(longer.out).final.step == 3000 // SMALLER
    assert RunHistory.read(longer.out / f"ended-{2000 // SMALLER}").finished
    branch = RunHistory.read(decayed.out)
    assert [event["step"] for event in branch.branches] == [1000 // SMALLER]
    assert branch.final.step == 1250 // SMALLER
    assert f"goes on from {deeper.out}, step 20" in said
