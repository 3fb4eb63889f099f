"""The launch script as a user starts it: killed, signalled, left without a launcher, and each time started again.

One run goes through all of it, and ends as one that nothing disturbed.
"""

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from launching import SCRIPT, finish, free_port, last_saved, ranks_of, start, wait_for_steps
from project import PROJECT
from ranks import pool
from recipes import tiny, write, zero
from runs import events, train, trained
from transformers import AutoModelForCausalLM, AutoTokenizer

from apollo_ds.config.recipe import Recipe
from apollo_ds.errors import EXIT_STOPPED
from apollo_ds.experiments.events import read_metrics

STEPS = 200


@dataclass(frozen=True)
class Started:
    """How one start of the run ended."""

    code: int
    output: str
    last_event: dict[str, Any]
    saved: int


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """Steps in fp32 across two growths."""
    out = tmp_path_factory.mktemp("launch") / "run"
    return tiny("gpt2", out, steps=STEPS, save_every=20, eval_every=100, log_every=1, deepspeed=zero(2))


@pytest.fixture(scope="module")
def words(recipe: Recipe) -> tuple[str, str]:
    """The recipe as a file, with its DeepSpeed configuration in another, and where it trains."""
    path = recipe.out.with_name("recipe.yaml")
    deepspeed = recipe.out.with_name("deepspeed.json")
    deepspeed.write_text(json.dumps(recipe.deepspeed))
    path.write_text(yaml.safe_dump({**recipe.plain(), "out": "elsewhere", "deepspeed": str(deepspeed)}))
    return str(path), f"out={recipe.out}"


@pytest.fixture(scope="module")
def port() -> str:
    """Where all starts meet."""
    return free_port()


@pytest.fixture(scope="module")
def killed(recipe: Recipe, words: tuple[str, str], port: str) -> Started:
    """Started by DeepSpeed's launcher on two ranks; all of it is killed after step 33."""
    process = start("deepspeed", "--master_port", port, "--num_accelerators", "2", SCRIPT, *words)
    wait_for_steps(process, recipe.out, 33)
    ranks = ranks_of(recipe.out)
    assert len(ranks) == 2
    os.killpg(process.pid, signal.SIGKILL)
    for rank in ranks:  # in groups of their own
        rank.kill()
    return ended(process, recipe)


@pytest.fixture(scope="module")
def signalled(recipe: Recipe, words: tuple[str, str], port: str, killed: Started) -> Started:
    """Started again by bash; the script gets SIGTERM."""
    process = start("bash", SCRIPT, *words, port=port)
    wait_for_steps(process, recipe.out, 5, resumes=1)
    process.send_signal(signal.SIGTERM)
    return ended(process, recipe)


@pytest.fixture(scope="module")
def orphaned(recipe: Recipe, words: tuple[str, str], port: str, signalled: Started) -> Started:
    """Started again by bash; the script is killed, and nothing else."""
    process = start("bash", SCRIPT, *words, port=port)
    wait_for_steps(process, recipe.out, 5, resumes=2)
    ranks = ranks_of(recipe.out)
    assert len(ranks) == 2
    process.kill()
    _, alive = psutil.wait_procs(ranks, timeout=60)
    assert not alive
    return ended(process, recipe)


@pytest.fixture(scope="module")
def finished(recipe: Recipe, words: tuple[str, str], port: str, orphaned: Started) -> Started:
    """Started again by bash, to its end."""
    return ended(start("bash", SCRIPT, *words, port=port), recipe)


def ended(process: "subprocess.Popen[str]", recipe: Recipe) -> Started:
    code, output = finish(process)
    return Started(code, output, read_metrics(recipe.out / "metrics.jsonl")[-1], last_saved(recipe.out))


@pytest.fixture(scope="module")
def undisturbed(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """The same run on ranks that nothing stops."""
    whole = recipe.model_copy(update={"out": tmp_path_factory.mktemp("undisturbed") / "run"})
    assert pool(2).run(train, whole) == [None, None]
    return whole


def test_the_script_is_bash_and_python() -> None:
    script = (PROJECT / SCRIPT).read_text()
    for_bash, python = script.split('"$@"\n', 1)  # bash stops at the command that ends so, and never reads on
    assert for_bash.startswith("#!/usr/bin/env bash\n")
    assert "import sys" in python
    subprocess.run(["bash", "-n"], input=f'{for_bash}"$@"\n', text=True, check=True)
    subprocess.run(["bash", "-n", PROJECT / "launch" / "pretrain.sbatch"], check=True)
    compile(script, SCRIPT, "exec")
    assert os.access(PROJECT / SCRIPT, os.X_OK)


def test_a_kill_leaves_the_last_checkpoint(killed: Started) -> None:
    assert killed.code == -signal.SIGKILL
    assert killed.last_event["event"] != "end"
    assert killed.saved % 20 == 0


def test_a_signal_to_the_launch_script_saves_and_ends_with_its_code(recipe: Recipe, signalled: Started) -> None:
    assert signalled.code == EXIT_STOPPED, signalled.output
    assert signalled.output.count("run the same command to resume") == 1
    assert "(2 of 2 ranks): stopped after step" in " ".join(signalled.output.split())
    assert "Traceback" not in signalled.output
    assert signalled.last_event == {"event": "checkpoint", "step": signalled.saved}
    assert not ranks_of(recipe.out)


def test_ranks_whose_launcher_was_killed_save_and_end(orphaned: Started, signalled: Started) -> None:
    assert orphaned.code == -signal.SIGKILL
    assert orphaned.last_event == {"event": "checkpoint", "step": orphaned.saved}
    assert signalled.saved < orphaned.saved < STEPS


def test_a_run_that_was_stopped_time_and_again_ends_as_one_that_was_not(
    recipe: Recipe, finished: Started, undisturbed: Recipe, port: str
) -> None:
    assert finished.code == 0, finished.output
    assert trained(recipe) == trained(undisturbed)
    assert len(events(recipe, "resume")) == 3
    for rank in range(2):
        name = f"checkpoints/step-{STEPS}/rank-{rank:05d}.safetensors"
        assert (recipe.out / name).read_bytes() == (undisturbed.out / name).read_bytes()
    assert not list(Path("/dev/shm").glob(f"*_{port}_*")), "what DeepSpeed keeps in memory outlives a kill"


def test_bash_trains_the_recipe_on_two_ranks(
    recipe: Recipe, killed: Started, signalled: Started, orphaned: Started, finished: Started
) -> None:
    assert [event["step"] for event in events(recipe, "step")] == list(range(1, STEPS + 1))
    assert [(event["from"], event["to"]) for event in events(recipe, "growth")] == [(1, 3), (3, 6)]
    assert [event["ranks"] for event in events(recipe, "start")] == [2]
    assert finished.last_event["event"] == "end"
    held_out = [event["loss"] for event in events(recipe, "eval")]
    assert held_out[-1] < held_out[0]
    assert "1 -> 3 layers" in "".join(start.output for start in (killed, signalled, orphaned, finished))
    assert f"{held_out[-1]:.4f} nats a token" in finished.output


def test_the_run_folder_is_complete(recipe: Recipe, finished: Started) -> None:
    assert finished.code == 0, finished.output
    folder = recipe.out
    assert yaml.safe_load((folder / "config.yaml").read_text())["recipe"] == recipe.plain()
    assert len(list(folder.rglob("events.out.tfevents.*"))) == 1  # that of the last start
    checkpoints = sorted(path.name for path in (folder / "checkpoints").iterdir())
    assert checkpoints == ["latest", *(f"step-{STEPS - ago}" for ago in (40, 20, 0))]
    assert finished.saved == STEPS
    pictures = ["depth_and_loss", *(f"loss_against_{key}" for key in ("flops", "time", "tokens")), "loss_around_growth"]
    assert sorted(path.stem for path in (folder / "report").glob("*.png")) == pictures
    assert (folder / "report" / "report.md").is_file()
    assert AutoModelForCausalLM.from_pretrained(folder / "export").config.n_layer == 6
    assert AutoTokenizer.from_pretrained(folder / "export")("the cat sees the bird")["input_ids"]


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Recipe, "subprocess.Popen[str]"]]:
    """Started by `deepspeed` without an option, by a user who has set nothing, while port 29500 is another's."""
    recipe = tiny("gpt2", tmp_path_factory.mktemp("bare") / "run", steps=5000, save_every=5000, log_every=1)
    path = write(recipe, recipe.out.with_name("recipe.yaml"))
    unset = [f"--unset={name}" for name in ("OMP_NUM_THREADS", "GOMP_SPINCOUNT", "MASTER_PORT")]
    with socket.socket() as taken:
        with suppress(OSError):  # another process has it, which is as good
            taken.bind(("127.0.0.1", 29500))
        process = start("env", *unset, "deepspeed", SCRIPT, path, f"out={recipe.out}")
        try:
            wait_for_steps(process, recipe.out, 3)
            yield recipe, process
        finally:
            end_all(process)


def end_all(process: "subprocess.Popen[str]") -> None:
    """Kill what a failed test has left of a command's processes."""
    if process.poll() is None:
        children = psutil.Process(process.pid).children(recursive=True)
        for child in [*children, process]:
            child.kill()


def test_deepspeed_without_an_option_trains_as_bash_does(bare: tuple[Recipe, "subprocess.Popen[str]"]) -> None:
    recipe, process = bare
    ranks = ranks_of(recipe.out)
    assert [event["ranks"] for event in events(recipe, "start")] == [len(ranks)] == [2]
    for shell in (rank.environ() for rank in ranks):
        assert (shell["OMP_NUM_THREADS"], shell["GOMP_SPINCOUNT"]) == ("1", "0")
        assert shell["MASTER_PORT"] != "29500"
    launcher = ranks[0].parent()
    assert launcher is not None
    assert launcher.parent() in psutil.Process(process.pid).children()


def test_a_signal_to_deepspeed_s_ranks_comes_back_as_their_code(bare: tuple[Recipe, "subprocess.Popen[str]"]) -> None:
    recipe, process = bare
    launcher = ranks_of(recipe.out)[0].parent()
    assert launcher is not None
    launcher.send_signal(signal.SIGTERM)
    code, output = finish(process)
    assert code == EXIT_STOPPED, output
    assert output.count("run the same command to resume") == 1
    assert last_saved(recipe.out) > 0


def test_ranks_notice_that_deepspeed_s_launcher_is_gone(recipe: Recipe, tmp_path: Path) -> None:
    out = tmp_path / "run"
    path = write(recipe, tmp_path / "recipe.yaml")
    process = start("deepspeed", "--master_port", free_port(), SCRIPT, path, f"out={out}", "steps=5000")
    wait_for_steps(process, out, 3)
    ranks = ranks_of(out)
    process.kill()
    _, alive = psutil.wait_procs(ranks, timeout=60)
    assert not alive
    finish(process)
    assert read_metrics(out / "metrics.jsonl")[-1] == {"event": "checkpoint", "step": last_saved(out)}


def test_a_wrong_key_is_said_once(words: tuple[str, str]) -> None:
    others = ("--num_accelerators", "2", SCRIPT, words[0], "stpes=3")
    code, output = finish(start("deepspeed", "--master_port", free_port(), *others))
    assert code == 2, output
    sentence = "apollo-ds: command line: unknown key stpes; did you mean steps?"
    assert output.splitlines().count(sentence) == 1, output
    assert output.count("unknown key") == 1
    assert "Traceback" not in output


def test_a_port_that_is_taken_is_said_with_its_option(words: tuple[str, str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        options = ("--master_port", port, "--num_accelerators", "1")
        code, output = finish(start("deepspeed", *options, SCRIPT, words[0], f"out={tmp_path / 'run'}"))
    assert code == 2, output
    sentence = (
        f"apollo-ds: MASTER_PORT: another process of this machine has the port {port}; give `deepspeed` a free one"
    )
    assert output.count(sentence) == 1, output
