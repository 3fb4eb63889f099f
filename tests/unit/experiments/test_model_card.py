"""The model card says what the run has recorded, and its example runs."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import xxhash
from exports import text_of, trained, wordpiece, write_export
from huggingface_hub import ModelCard
from project import PROJECT
from recipes import tiny
from sources import half_as_deep

from apollo_ds.config.load import load_resolved, resolve
from apollo_ds.config.recorded import Recorded
from apollo_ds.data.text import Text
from apollo_ds.errors import UserError
from apollo_ds.experiments.model_card import model_card
from apollo_ds.experiments.trained_model import TrainedModel
from apollo_ds.models.families import FAMILIES
from apollo_ds.planning.in_words import flops_in_words
from apollo_ds.planning.plan import plan
from apollo_ds.schedule.source import SourceModel
from apollo_ds.schedule.totals import Totals

EVAL = {"event": "eval", "step": 10, "tokens": 2560, "flops": 1e9, "seconds": 60.0, "depth": 6, "loss": 5.25}


def model(folder: Path, family: str = "gpt2", used: Totals | None = None, **changes: Any) -> TrainedModel:
    """A run's model; `used` is what it has taken so far."""
    recipe = tiny(family, folder / "run", **changes)
    path = folder / "run/metrics.jsonl"
    metrics = path.read_bytes() if path.exists() else b""
    return TrainedModel(
        run=folder / "run",
        recorded=Recorded(recipe=recipe.plain(), run="1234", ranks=2, versions={"torch": "2.13.0", "absent": None}),
        recipe=recipe,
        text=Text.open(recipe.data),
        schedule=recipe.schedule(),
        totals=used or Totals(10, 2560, 1e9, 60.0),
        metrics_bytes=len(metrics),
        metrics_hash=xxhash.xxh3_128_hexdigest(metrics),
    )


def record(folder: Path, *events: dict[str, Any]) -> None:
    (folder / "run").mkdir(exist_ok=True)
    (folder / "run/metrics.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))


def metadata(card: str) -> dict[str, Any]:
    return ModelCard(card).data.to_dict()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_example_runs(
    family: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = text_of(wordpiece(), tmp_path / "text")
    monkeypatch.chdir(write_export(trained(family, text.vocab_size), text, tmp_path))
    code = re.search(r"```python\n(.*?)```", model_card(model(tmp_path, family)), re.DOTALL)
    assert code
    capsys.readouterr()
    exec(code[1], {})
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("family", FAMILIES)
def test_no_path_of_the_machine_is_told(family: str, tmp_path: Path) -> None:
    record(tmp_path, EVAL)
    card = model_card(model(tmp_path, family))
    assert not re.search(r"(^|[\s`'\"(])/\w", card)
    assert str(tmp_path) not in card
    assert card == model_card(model(tmp_path, family)), "nor the time"


def test_what_the_hub_reads(tmp_path: Path) -> None:
    record(tmp_path, EVAL)
    told = metadata(model_card(model(tmp_path), "apache-2.0", "me/small"))
    assert (told["license"], told["library_name"], told["pipeline_tag"]) == (
        "apache-2.0",
        "transformers",
        "text-generation",
    )
    (result,) = told["model-index"]
    assert result["name"] == "me/small"
    measured = {metric["type"]: metric["value"] for metric in result["results"][0]["metrics"]}
    assert measured == {"loss": 5.25, "perplexity": 190.6}
    masked = metadata(model_card(model(tmp_path, "bert")))
    assert masked["pipeline_tag"] == "fill-mask"
    assert "license" not in masked
    assert [metric["type"] for metric in masked["model-index"][0]["results"][0]["metrics"]] == ["loss", "perplexity"]


def test_a_pushed_model_is_used_by_its_name(tmp_path: Path) -> None:
    assert 'model="me/small"' in model_card(model(tmp_path), name="me/small")
    assert 'model="."' in model_card(model(tmp_path))


@pytest.mark.parametrize("written", ["Apache 2.0", "apache-2.0\nname: x", "", "MIT"])
def test_a_license_is_written_as_the_hub_does(written: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--license .*: write it as the hub does, such as apache-2.0"):
        model_card(model(tmp_path), written)


def test_losses_are_those_up_to_the_checkpoint(tmp_path: Path) -> None:
    later = {**EVAL, "step": 20, "loss": 4.0}
    record(tmp_path, {**EVAL, "bits_per_byte": 1.5, "losses": {"law": 6.5}}, later)
    card = model_card(model(tmp_path))
    assert "| at step 10 |" in card
    assert "| held-out loss | 5.2500 nats per token |" in card
    assert "| bits a byte of text | 1.5000 |" in card
    assert "| held-out loss of law | 6.5000 nats per token |" in card
    record(tmp_path, {**EVAL, "loss": None})
    card = model_card(model(tmp_path))
    assert "| held-out loss | not finite |" in card
    assert "model-index" not in metadata(card)


def test_no_loss_of_a_changed_record_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record(tmp_path, EVAL)
    path = tmp_path / "run/metrics.jsonl"
    for change in (lambda text: text.replace("5.25", "3.25"), lambda text: text[:-9], None):
        record(tmp_path, EVAL)
        saved = model(tmp_path)
        path.write_text(change(path.read_text())) if change else path.unlink()
        caplog.clear()
        card = model_card(saved)
        assert "No held-out loss is known." in card
        assert "model-index" not in metadata(card)
        told = f"{path}: is missing or damaged, so that the model card tells no loss; restore it"
        assert caplog.messages == [told]


def test_a_run_without_an_evaluation_has_a_card(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record(tmp_path, {"event": "start"})
    assert "No held-out loss is known." in model_card(model(tmp_path))
    assert not caplog.messages


def test_the_cost_is_compared_with_all_layers_by_the_closed_form(tmp_path: Path) -> None:
    planned = plan(tiny("gpt2", tmp_path / "run"))["total"]
    used = Totals(planned["steps"], planned["tokens"], planned["flops"], 7.5)
    card = model_card(model(tmp_path, used=used))
    share = planned["flops"] / planned["scratch_flops"]
    assert f"Training took {flops_in_words(used.flops)} and 7.5 s on 2 ranks." in card
    whole = flops_in_words(planned["scratch_flops"])
    assert f"This is {share:.1%} of the {whole} that all 6 layers would have taken on the same tokens" in card


def test_stages_that_have_begun_are_told(tmp_path: Path) -> None:
    used = Totals(7, 7 * 256, 1e8, 1.0)
    card = model_card(model(tmp_path, used=used))
    assert "| stages | 1 layer from step 0, 3 layers from step 5 |" in card
    assert "| steps | 7 of 20 |" in card


def test_what_a_run_began_from_is_told_by_its_name_and_cost(tmp_path: Path) -> None:
    assert "The first weights were drawn at random." in model_card(model(tmp_path))
    shape = tiny("gpt2", "x").model
    source = half_as_deep(shape).model_copy(update={"folder": tmp_path / "small"})
    method = {"name": "upscale", "source": source.model_dump(mode="json")}
    card = model_card(model(tmp_path, method=method))
    assert "The run started from the weights of the run `small` at step 10." in card
    assert "What it started from had taken 1 GFLOP before that." in card


@pytest.mark.parametrize("is_on_hub", [True, False])
def test_a_model_of_the_hub_is_the_base_model(is_on_hub: bool, tmp_path: Path) -> None:
    folder = tmp_path / ("hub/models--a--b/snapshots/1" if is_on_hub else "mine")
    shape = tiny("gpt2", "x").model
    saved = SourceModel(hf="a/b", folder=folder, shape=shape, identity="1", tokenizer=None)
    card = model_card(model(tmp_path, method="scratch", init_from=saved.model_dump(mode="json")))
    assert metadata(card).get("base_model") == ("a/b" if is_on_hub else None)
    assert f"started from the weights of the model `{'a/b' if is_on_hub else 'mine'}`." in card


def test_a_branch_names_the_run_and_counts_its_cost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(PROJECT / "tests/fixtures/format_3/run", "run")
    shutil.copytree(PROJECT / "tests/fixtures/format_2/text", "text")
    recipe = load_resolved(Path("run/config.yaml")).model_dump(mode="json")
    branch = resolve({**recipe, "branch_from": "run@8", "out": "branch", "method": "scratch"}, "test")
    made = TrainedModel(
        Path("branch"),
        Recorded(recipe={}),
        branch,
        Text.open(Path("text")),
        branch.schedule(),
        Totals(9, 2304, 2e8, 1),
        0,
        None,
    )
    assert "The run goes on from step 8 of the run `run`, whose cost is counted above." in model_card(made)
