"""A run that is cut short goes on as if nothing had happened."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from ranks import pool
from recipes import tiny, zero
from runs import events, losses, train, trained

from apollo_ds.checkpoint import choose
from apollo_ds.checkpoint.find import verify
from apollo_ds.checkpoint.manifest import DamagedCheckpoint
from apollo_ds.config.recipe import Recipe
from apollo_ds.data.corpus import Corpus
from apollo_ds.engine import cohorts
from apollo_ds.engine.engine import Engine
from apollo_ds.engine.processes import Processes
from apollo_ds.training.run import make_trainer


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    """A run through two growths that nothing disturbs."""
    recipe = tiny("gpt2", tmp_path_factory.mktemp("whole") / "run", save_every=5)
    assert pool(2).run(train, recipe) == [None, None]
    return recipe


@pytest.fixture
def finished(whole: Recipe, tmp_path: Path) -> Recipe:
    """The same run in a folder of its own, to be tampered with."""
    return whole.model_copy(update={"out": Path(shutil.copytree(whole.out, tmp_path / "run"))})


@pytest.mark.parametrize("stop_after", [4, 5, 7, 13])
def test_a_run_cut_short_goes_on_as_if_it_had_not_been(stop_after: int, whole: Recipe, tmp_path: Path) -> None:
    cut = whole.model_copy(update={"out": tmp_path / "cut", "save_every": 3})
    pool(2).run(train, cut, stop_after)
    pool(2).run(train, cut)
    assert len(events(cut, "resume")) == 1
    assert trained(cut) == trained(whole)


def test_a_run_with_dropout_cut_short_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    shape = {**tiny("bert", "unused").model.model_dump(), "dropout": 0.1}
    whole, cut = (tiny("bert", tmp_path / name, model=shape, steps=12, save_every=4) for name in ("whole", "cut"))
    pool(2).run(train, whole)
    pool(2).run(train, cut, 6)
    pool(2).run(train, cut)
    assert losses(cut) == losses(whole)
    assert len(set(losses(whole))) == 12


def train_looking_often(processes: Processes, recipe: Recipe, stop_after: int | None = None) -> str | None:
    """Train, and see every ten steps which of the younger weights are old enough."""
    with patch.object(cohorts, "_STEPS_BETWEEN_LOOKS", 10):
        return train(processes, recipe, stop_after)


@pytest.mark.parametrize("zero_stage", [1, 3])
def test_younger_weights_grow_old_in_a_resumed_run_when_they_do_in_one_that_was_not(
    zero_stage: int, tmp_path: Path
) -> None:
    method = {"name": "apollo", "layers": [1, 3, 6], "grow_at": [0.2, 0.4], "moments": "zero_new"}
    changes = {"steps": 60, "method": method, "adam_betas": [0.5, 0.5], "deepspeed": zero(zero_stage)}
    whole, cut = (tiny("bert", tmp_path / name, **changes, save_every=17) for name in ("whole", "cut"))
    pool(2).run(train_looking_often, whole)
    pool(2).run(train_looking_often, cut, 38)
    pool(2).run(train_looking_often, cut)
    assert events(cut, "resume")[-1]["step"] == 34
    assert trained(cut) == trained(whole)
    for rank in range(2):
        name = f"checkpoints/step-60/rank-{rank:05d}.safetensors"
        assert (cut.out / name).read_bytes() == (whole.out / name).read_bytes()


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:1000])


def flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize(("harm", "rank"), [(truncate, 0), (flip_a_bit, 1)])
def test_a_damaged_checkpoint_is_passed_over(
    harm: Callable[[Path], None], rank: int, finished: Recipe, whole: Recipe
) -> None:
    newest = finished.out / "checkpoints" / "step-20"
    harm(newest / f"rank-{rank:05d}.safetensors")
    assert pool(2).run(train, finished) == [None, None]
    assert events(finished, "resume")[-1]["step"] == 15
    assert trained(finished) == trained(whole)
    verify(newest)


@pytest.mark.parametrize("latest", ["step-999", None])
def test_a_latest_that_points_nowhere_is_repaired(latest: str | None, finished: Recipe) -> None:
    pointer = finished.out / "checkpoints" / "latest"
    if latest:
        pointer.write_text(latest)
    else:
        pointer.unlink()
    pool(2).run(train, finished)
    assert events(finished, "resume")[-1]["step"] == 20
    assert pointer.read_text() == "step-20"


def test_checkpoints_of_two_ranks_continue_on_one(finished: Recipe, whole: Recipe) -> None:
    shutil.rmtree(finished.out / "checkpoints" / "step-20")
    pool(1).run(train, finished.model_copy(update={"deepspeed": zero(2)}))
    assert events(finished, "resume")[-1]["step"] == 15
    assert torch.allclose(torch.tensor(losses(finished)), torch.tensor(losses(whole)), atol=1e-5, rtol=0)


class Crash(Exception):
    """What nobody expects."""


def train_and_crash(processes: Processes, recipe: Recipe, method: str, call: int) -> None:
    """Train, and die right after an engine's method has been called so often."""
    original = getattr(Engine, method)
    calls = 0

    def crash(engine: Engine, *arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        result = original(engine, *arguments, **options)
        if calls == call:
            raise Crash
        return result

    trainer = make_trainer(recipe, processes)
    with pytest.MonkeyPatch.context() as patch, pytest.raises(Crash):
        patch.setattr(Engine, method, crash)
        trainer.train()
    for part in (trainer.writer, trainer.consensus, trainer.watchdog, trainer.metrics):  # of the engine little is left
        part.close()


@pytest.mark.parametrize(
    ("where", "call"),
    [
        # Saving at steps 5 and 10 captures too: the second capture is that of the growth at step 5.
        pytest.param("capture", 2, id="after capture"),
        pytest.param("close", 1, id="after teardown"),
        pytest.param("set_counters", 1, id="during restore"),
        pytest.param("start_from_restored", 1, id="after restore"),
        pytest.param("train_step", 7, id="before the next checkpoint"),
    ],
)
def test_a_crash_inside_a_growth_loses_nothing(where: str, call: int, whole: Recipe, tmp_path: Path) -> None:
    crashed = whole.model_copy(update={"out": tmp_path / "crashed", "save_every": 10})
    pool(2).run(train_and_crash, crashed, where, call)
    pool(2).run(train, crashed)
    assert trained(crashed) == trained(whole)


def damage_all(folder: Path) -> None:
    for checkpoint in folder.glob("checkpoints/step-*"):
        flip_a_bit(checkpoint / "rank-00000.safetensors")


def lose_all(folder: Path) -> None:
    shutil.rmtree(folder / "checkpoints")


def change_a_digit(folder: Path) -> None:
    metrics = folder / "metrics.jsonl"
    metrics.write_bytes(metrics.read_bytes().replace(b'"depth": 1', b'"depth": 2', 1))


def cut_metrics(folder: Path) -> None:
    truncate(folder / "metrics.jsonl")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (damage_all, "has no sound checkpoint"),
        (lose_all, "is empty, but metrics.jsonl tells of checkpoints at steps"),
        (change_a_digit, "metrics.jsonl: differs from what the run had recorded"),
        (cut_metrics, "metrics.jsonl: differs from what the run had recorded"),
    ],
)
def test_what_cannot_be_gone_on_from_is_told_and_nothing_is_touched(
    harm: Callable[[Path], None], said: str, finished: Recipe
) -> None:
    harm(finished.out)
    before = {path: path.read_bytes() for path in finished.out.rglob("*.*") if path.name != "config.yaml"}
    told = pool(2).run(train, finished)
    assert told[0] == told[1]
    assert said in told[0]
    assert "\n" not in told[0]
    assert {path: path.read_bytes() for path in before} == before


def test_a_run_goes_on_without_metrics_that_were_removed(finished: Recipe, whole: Recipe) -> None:
    shutil.rmtree(finished.out / "checkpoints" / "step-20")
    (finished.out / "metrics.jsonl").unlink()
    assert pool(2).run(train, finished) == [None, None]
    assert losses(finished) == losses(whole)[15:]


def resume_where_a_rank_sees_less(processes: Processes, recipe: Recipe) -> str | None:
    """As over a network, where one node still has an old list of a folder's files."""
    with pytest.MonkeyPatch.context() as patch:
        if processes.rank == 1:
            patch.setattr(choose, "check_files", sees_nothing)
        return train(processes, recipe)


def sees_nothing(checkpoint: Path, names: list[str], manifest: object) -> None:
    raise DamagedCheckpoint(f"{checkpoint / names[0]}: missing or damaged")


def test_a_rank_that_sees_other_files_than_the_first_stops_all(finished: Recipe) -> None:
    told = pool(2).run(resume_where_a_rank_sees_less, finished)
    assert told[0] == told[1]
    assert "step-20/rank-00001.safetensors: missing or damaged, as rank 1 on" in told[0]
    assert not list(finished.out.glob("checkpoints/*.damaged"))


def resume_where_a_rank_has_other_text(processes: Processes, recipe: Recipe, less: int) -> str | None:
    with pytest.MonkeyPatch.context() as patch:
        if processes.rank == 1:
            sizes = Corpus.sizes
            patch.setattr(Corpus, "sizes", lambda corpus: {name: n - less for name, n in sizes(corpus).items()})
        return train(processes, recipe)


def test_a_rank_that_sees_other_text_than_the_first_stops_all(finished: Recipe) -> None:
    assert pool(2).run(resume_where_a_rank_has_other_text, finished, 0) == [None, None]
    told = pool(2).run(resume_where_a_rank_has_other_text, finished, 1)
    assert told[0] == told[1]
    assert f"data: {finished.data}: rank 1 on " in told[0]


def test_names_that_are_none_of_a_checkpoint_disturb_nothing(finished: Recipe, whole: Recipe) -> None:
    folder = finished.out / "checkpoints"
    shutil.copytree(folder / "step-15", folder / "step-15-good")
    shutil.copytree(folder / "step-15", folder / "step-99")
    shutil.rmtree(folder / "step-20")
    (folder / "step-final").mkdir()
    (folder / "latest").unlink()
    (folder / "latest").mkdir()
    assert pool(2).run(train, finished) == [None, None]
    assert trained(finished) == trained(whole)
    assert {"step-15-good", "step-99.damaged", "step-final", "latest.damaged"} <= {p.name for p in folder.iterdir()}
    assert (folder / "latest").read_text() == "step-20"


def test_what_a_killed_run_had_still_to_remove_goes(finished: Recipe) -> None:
    folder = finished.out / "checkpoints"
    before = sorted(path.name for path in folder.iterdir())
    for left in ("step-1", "step-2.removed.partial", "step-21.partial"):
        shutil.copytree(folder / "step-20", folder / left)
    pool(2).run(train, finished)
    assert sorted(path.name for path in folder.iterdir()) == before
