"""What a run comes to on its text, and in time."""

import json
import shutil
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from corpora import corpus
from recipes import tiny
from rich.console import Console

from apollo_ds.planning.outlook import Rate, epoch_tokens, evaluations, outlook, print_outlook, saves
from apollo_ds.planning.plan import plan
from data_prep.build import build
from data_prep.manifest import Manifest, write_manifest
from data_prep.options import Options
from data_prep.sources import parse

TEXT = corpus("gpt2")
PER_EPOCH = epoch_tokens(TEXT, 32)
PER_STEP = 8 * 32
ENOUGH = 250
"""Steps that read a token a parameter."""
SIZES = tiny("gpt2", "runs/none").model.model_dump()


def looked(rate: Rate | None = None, **changes: Any) -> dict[str, Any]:
    recipe = tiny("gpt2", "runs/none", **{"method": "scratch", **changes})
    return outlook(recipe, plan(recipe), rate)


def printed(result: dict[str, Any]) -> str:
    console = Console(width=200, file=StringIO())
    with console.capture() as captured:
        print_outlook(result, console)
    return captured.get()


def test_an_epoch_is_of_whole_samples_that_have_a_target_for_their_last_token() -> None:
    tokens = TEXT.manifest.splits["train"].tokens
    assert 0 < tokens - epoch_tokens(TEXT, 32) <= 32
    assert epoch_tokens(TEXT, tokens - 1) == tokens - 1


def test_of_several_texts_the_one_that_is_repeated_most_counts(tmp_path: Path) -> None:
    other = another_text(tmp_path / "other")
    data = {str(TEXT.folder): 0.5, str(other): 0.5}
    result = looked(steps=int(20 * PER_EPOCH / PER_STEP), data=data)
    by_name = {source["name"]: source for source in result["text"]["sources"]}
    assert by_name[TEXT.folder.name]["epochs"] == pytest.approx(10, rel=1e-3)
    assert by_name["other"]["share"] == 0.5
    assert result["text"]["epochs"] == by_name["other"]["epochs"] > by_name[TEXT.folder.name]["epochs"]
    assert result["warnings"][0].startswith("other is repeated ")
    assert f"({TEXT.folder.name}, 50.0% of the run)" in printed(result)


def another_text(folder: Path) -> Path:
    """A small text with the tokenizer of the other."""
    options = Options(parse([str(write_lines(folder.parent))]), str(TEXT.tokenizer_folder), validation_fraction=0.2)
    build(options, folder, 1, Console(quiet=True))
    return folder


def write_lines(folder: Path) -> Path:
    path = folder / "lines.jsonl"
    path.write_text(
        "".join(json.dumps({"text": f"Line {number} of a small text. " * 20}) + "\n" for number in range(20))
    )
    return path


def test_the_text_is_told_of() -> None:
    result = looked(steps=ENOUGH)
    parameters = plan(tiny("gpt2", "runs/none", method="scratch"))["stages"][-1]["parameters"]
    assert result["text"]["epochs"] == pytest.approx(ENOUGH * PER_STEP / PER_EPOCH)
    assert result["text"]["tokens_per_parameter"] == pytest.approx(ENOUGH * PER_STEP / parameters)
    assert (result["time"], result["warnings"]) == (None, [])


@pytest.mark.parametrize(("repeats", "is_warned_of"), [(3.9, False), (4.1, True), (3160, True)])
def test_a_text_that_is_repeated_more_than_4_times_is_warned_of(repeats: float, is_warned_of: bool) -> None:
    steps = int(repeats * PER_EPOCH / PER_STEP)
    warnings = looked(steps=steps)["warnings"]
    assert len(warnings) == is_warned_of
    if is_warned_of:
        advised = int(warnings[0].split("steps=")[1].split(",")[0])
        assert looked(steps=advised)["text"]["epochs"] == pytest.approx(4, abs=PER_STEP / PER_EPOCH)
        assert looked(steps=advised)["warnings"] == []


@pytest.mark.parametrize("known", [True, False])
def test_the_bytes_of_a_token_are_told_where_the_manifest_has_them(known: bool, tmp_path: Path) -> None:
    folder = tmp_path / "text"
    shutil.copytree(TEXT.folder, folder)
    values = TEXT.manifest.values()
    assert values["splits"]["train"]["bytes"] > 0
    if not known:
        values["splits"]["train"]["bytes"] = None
    write_manifest(folder, Manifest.model_validate(values))
    size, tokens = values["splits"]["train"]["bytes"], values["splits"]["train"]["tokens"]
    result = looked(data=str(folder))
    assert result["text"]["bytes_per_token"] == (size / tokens if known else None)
    assert ("bytes of text a token" in printed(result)) == known


def test_fewer_tokens_than_parameters_are_warned_of() -> None:
    assert looked(steps=ENOUGH)["warnings"] == []
    (warning,) = looked(steps=20)["warnings"]
    assert warning.startswith("The run reads 0.083 tokens a parameter, too few for a model of this size")


def test_a_stated_rate_gives_the_time() -> None:
    result = looked(Rate(PER_STEP / 2), steps=20)
    assert result["time"]["seconds"] == pytest.approx(40)
    assert "Time: 40.0 s at 128 tokens/s, as stated" in printed(result)


def test_steps_of_short_samples_count_by_their_operations() -> None:
    method = {"name": "short_to_long", "divisors": [4, 1], "until": [0.5]}
    assert 10 < looked(Rate(PER_STEP), steps=20, method=method)["time"]["seconds"] < 20 * (0.5 + 0.5 / 4) + 1e-9


def test_a_measured_rate_comes_with_what_else_takes_time() -> None:
    rate = Rate(PER_STEP, memory_bytes=690_000_000, start_seconds=5, evaluation_seconds=0.5, save_seconds=2)
    result = looked(rate, steps=20, eval_every=10, save_every=10)
    assert result["time"]["seconds"] == pytest.approx(20 + 5 + 2 * 0.5 + 2 * 2)
    assert "memory 690 MB a rank" in printed(result)


@pytest.mark.parametrize(
    ("seconds", "words"), [(6 * 86_400, None), (8 * 86_400, "8.0 days"), (8361 * 86_400, "22.9 years")]
)
def test_a_run_of_more_than_a_week_is_warned_of(seconds: float, words: str | None) -> None:
    warnings = looked(Rate(ENOUGH * PER_STEP / seconds), steps=ENOUGH)["warnings"]
    assert (warnings == []) if words is None else (f"takes {words}, more than a week" in warnings[0])


def test_a_computed_time_of_more_than_a_week_is_warned_of() -> None:
    recipe = tiny("gpt2", "runs/none", steps=ENOUGH)
    assert "more than a week" in outlook(recipe, {**plan(recipe), "forecast": {"days": 8.0}}, None)["warnings"][0]


@pytest.mark.parametrize(("steps", "every", "expected"), [(20, 10, 2), (25, 10, 3), (5, 10, 1)])
def test_evaluations_and_saves_are_counted_with_those_of_the_end(steps: int, every: int, expected: int) -> None:
    recipe = tiny("gpt2", "runs/none", method="scratch", steps=steps, eval_every=every, save_every=every)
    assert (evaluations(recipe), saves(recipe)) == (expected, expected)


def test_the_start_of_a_decay_is_saved_too() -> None:
    recipe = tiny("gpt2", "runs/none", method="scratch", lr_schedule="wsd", decay_fraction=0.25, save_every=20)
    assert saves(recipe) == 2


@pytest.mark.parametrize(
    "changes", [{"data": "/nowhere/text"}, {"seq_len": 99_999, "model": {**SIZES, "max_position_embeddings": 99_999}}]
)
def test_a_text_that_is_not_there_or_too_short_is_left_out(changes: dict[str, Any]) -> None:
    result = looked(**changes)
    assert (result["text"], printed(result)) == (None, "")
