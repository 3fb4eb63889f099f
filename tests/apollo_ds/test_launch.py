"""The launch script as a user starts it: from bash, from DeepSpeed's launcher, after a mistake, after kill -9."""

import json
import math
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from launching import PROJECT, SCRIPT, TIMEOUT_SECONDS, finish, free_port, start
from recipes import tiny, zero
from transformers import AutoModelForCausalLM, AutoTokenizer

from apollo_ds.config.recipe import Recipe
from apollo_ds.config.run_folder import plain
from apollo_ds.experiments.events import read_metrics


def two_ranks(port: str, recipe: str, *overrides: str) -> "subprocess.Popen[str]":
    """Start two CPU ranks that meet at this port."""
    return start("deepspeed", "--master_port", port, "--num_accelerators", "2", SCRIPT, recipe, *overrides)


@pytest.fixture(scope="module", autouse=True)
def _nothing_left_in_shared_memory() -> Iterator[None]:
    """DeepSpeed's CPU all-reduce leaves its buffers behind."""
    shared = Path("/dev/shm")
    before = set(shared.glob("deepspeed_allreduce_buffer_*"))
    yield
    for buffer in set(shared.glob("deepspeed_allreduce_buffer_*")) - before:
        buffer.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """A hundred steps in fp32 across two growths."""
    out = tmp_path_factory.mktemp("launch") / "run"
    return tiny("gpt2", out, steps=100, save_every=10, eval_every=25, log_every=1, deepspeed=zero(2))


@pytest.fixture(scope="module")
def recipe_file(recipe: Recipe) -> str:
    """The recipe as a file, with its DeepSpeed configuration in another."""
    path = recipe.out.with_name("recipe.yaml")
    deepspeed = recipe.out.with_name("deepspeed.json")
    deepspeed.write_text(json.dumps(recipe.deepspeed))
    path.write_text(yaml.safe_dump({**plain(recipe), "deepspeed": str(deepspeed)}))
    return str(path)


@pytest.fixture(scope="module")
def finished(recipe: Recipe, recipe_file: str) -> tuple[int, str, list[dict[str, Any]]]:
    """The whole run by bash: exit code, output, metrics."""
    code, output = finish(start("bash", SCRIPT, recipe_file))
    return code, output, read_metrics(recipe.out / "metrics.jsonl") if code == 0 else []


def trained(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What must be the same however often a run was stopped."""
    timeless = ("seconds", "tokens_per_second", "peak_memory_bytes")
    kept = [event for event in events if event["event"] in ("step", "eval", "growth")]
    return [{key: value for key, value in event.items() if key not in timeless} for event in kept]


def test_the_script_is_bash_and_python() -> None:
    script = (PROJECT / SCRIPT).read_text()
    for_bash, python = script.split('"$@"\n', 1)  # bash stops at the command that ends so, and never reads on
    assert for_bash.startswith("#!/usr/bin/env bash\n")
    assert "import sys" in python
    subprocess.run(["bash", "-n"], input=f'{for_bash}"$@"\n', text=True, check=True)
    subprocess.run(["bash", "-n", PROJECT / "launch" / "start.sh"], check=True)
    compile(script, SCRIPT, "exec")
    assert os.access(PROJECT / SCRIPT, os.X_OK)
    assert os.access(PROJECT / "launch" / "start.sh", os.X_OK)


@pytest.mark.slow
def test_bash_trains_the_recipe_on_two_ranks(finished: tuple[int, str, list[dict[str, Any]]]) -> None:
    code, output, events = finished
    assert code == 0, output
    assert [event["step"] for event in events if event["event"] == "step"] == list(range(1, 101))
    assert [(event["from"], event["to"]) for event in events if event["event"] == "growth"] == [(1, 3), (3, 6)]
    assert (events[0]["event"], events[0]["ranks"], events[-1]["event"]) == ("start", 2, "end")
    held_out = [event["loss"] for event in events if event["event"] == "eval"]
    assert held_out[-1] < held_out[0]
    assert "1 -> 3 layers" in output
    assert f"{held_out[-1]:.4f} nats per token" in output


@pytest.mark.slow
def test_the_run_folder_is_complete(recipe: Recipe, finished: tuple[int, str, list[dict[str, Any]]]) -> None:
    assert finished[0] == 0
    folder = recipe.out
    assert yaml.safe_load((folder / "config.yaml").read_text())["recipe"] == plain(recipe)
    assert len(list(folder.glob("events.out.tfevents.*"))) == 1
    assert (folder / "checkpoints" / "latest").read_text() == "step-100"
    checkpoints = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert checkpoints == ["latest", "step-100", "step-80", "step-90"]
    pictures = ["depth_and_loss", *(f"loss_against_{key}" for key in ("flops", "time", "tokens")), "loss_around_growth"]
    assert sorted(path.stem for path in (folder / "report").glob("*.png")) == pictures
    assert (folder / "report" / "report.md").is_file()
    assert AutoModelForCausalLM.from_pretrained(folder / "export").config.n_layer == 6
    assert AutoTokenizer.from_pretrained(folder / "export")("the cat sees the bird")["input_ids"]


@pytest.mark.slow
def test_deepspeed_s_launcher_on_a_finished_run_trains_nothing_and_shows_its_loss(
    recipe: Recipe, recipe_file: str, finished: tuple[int, str, list[dict[str, Any]]]
) -> None:
    command = ("deepspeed", "--master_port", free_port(), SCRIPT, recipe_file)
    code, output = finish(start(*command))
    assert code == 0, output
    events = read_metrics(recipe.out / "metrics.jsonl")
    assert trained(events) == trained(finished[2])
    assert [event["ranks"] for event in events if event["event"] == "resume"] == [1]
    last = next(event for event in reversed(events) if event["event"] == "eval")
    assert math.isfinite(events[-1]["loss"])
    assert f"{last['loss']:.4f} nats per token" in output


@pytest.mark.slow
def test_a_wrong_key_is_said_once_and_ends_with_code_2(recipe_file: str) -> None:
    code, output = finish(two_ranks(free_port(), recipe_file, "stpes=3"))
    assert code == 2, output
    sentence = f"apollo-ds: {recipe_file}: unknown key stpes; did you mean steps?"
    assert output.splitlines().count(sentence) == 1, output
    assert output.count("unknown key") == 1
    assert "Traceback" not in output


@pytest.mark.slow
def test_a_run_killed_in_the_middle_goes_on_as_if_it_had_not_been(
    recipe: Recipe, recipe_file: str, finished: tuple[int, str, list[dict[str, Any]]]
) -> None:
    out = recipe.out.with_name("killed")
    port = free_port()
    process = two_ranks(port, recipe_file, f"out={out}")
    waited_since = time.monotonic()
    metrics = out / "metrics.jsonl"
    while not (metrics.is_file() and '"event": "step", "step": 33,' in metrics.read_text()):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() - waited_since < TIMEOUT_SECONDS
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert read_metrics(metrics)[-1]["event"] != "end"

    # At the same port, where the killed ranks have left their shared memory.
    code, output = finish(two_ranks(port, recipe_file, f"out={out}"))
    assert code == 0, output
    events = read_metrics(metrics)
    (resumed,) = (event["step"] for event in events if event["event"] == "resume")
    assert 30 <= resumed < 100
    assert trained(events) == trained(finished[2])
    assert (out / "export" / "model.safetensors").is_file()
    assert not list(Path("/dev/shm").glob(f"deepspeed_allreduce_buffer_*_{port}_*"))
