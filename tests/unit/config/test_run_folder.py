"""The command line: what `plan` prints, and that a mistake is one line and exit code 2, before anything starts."""

import errno
import os
import threading
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from no_locks import without_locks
from recipes import tiny, write

from apollo_ds.config.load import load_recipe
from apollo_ds.config.recorded import read_recorded, write_recorded
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.errors import UserError


def test_a_run_folder_belongs_to_one_job(tmp_path: Path) -> None:
    first, second = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "run")
    first.claim()
    with pytest.raises(UserError, match=r"run is in use by another job \(process \d+ on .*\); stop it, or use another"):
        second.claim(patience=0)
    waiting = threading.Thread(target=second.claim)
    waiting.start()
    del first
    waiting.join(30)
    assert not waiting.is_alive()


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_on_a_file_system_without_locks_a_line_says_that_nothing_keeps_others_out(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    without_locks(monkeypatch, code)
    folder = RunFolder(tmp_path / "run")
    folder.claim()
    (told,) = caplog.messages
    assert told.startswith(f"{folder.path}: its file system has no locks, so that nothing keeps a second job out")
    assert (folder.path / "lock").read_text().startswith(f"process {os.getpid()} on ")
    folder.release()


def test_a_lock_that_fails_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_locks(monkeypatch, errno.EIO)
    with pytest.raises(UserError, match=r"^out: cannot write to .*/run: Input/output error; mend that"):
        RunFolder(tmp_path / "run").claim()


@pytest.fixture
def recipe_file(tmp_path: Path) -> str:
    """A recipe that would train, with a corpus that is there."""
    return write(tiny("bert", tmp_path / "run"), tmp_path / "recipe.yaml")


@pytest.mark.parametrize(
    "override",
    ["micro_batch_size=1", "eval_every=3", "save_every=3", "keep_checkpoints=1", "deepspeed.zero_optimization.stage=3"],
)
def test_what_does_not_change_the_training_may_differ(override: str, recipe_file: str) -> None:
    recipe = load_recipe(Path(recipe_file))
    RunFolder(recipe.out).create(recipe)
    RunFolder(recipe.out).check(load_recipe(Path(recipe_file), [override]))


@pytest.mark.parametrize("content", ["", "recipe: [1\n", "versions: {}\n"])
def test_a_damaged_run_folder_is_named(content: str, recipe_file: str) -> None:
    recipe = load_recipe(Path(recipe_file))
    RunFolder(recipe.out).create(recipe)
    (recipe.out / "config.yaml").write_text(content)
    with pytest.raises(UserError, match=r"config\.yaml: missing, damaged"):
        RunFolder(recipe.out).check(recipe)


def test_a_run_folder_that_cannot_be_made_is_named(recipe_file: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    recipe = load_recipe(Path(recipe_file), [f"out={tmp_path / 'file' / 'run'}"])
    with pytest.raises(UserError, match=r"^out: .*/file is a file; move it away"):
        RunFolder(recipe.out).create(recipe)


@pytest.mark.parametrize("name", ["metrics.jsonl", "report/report.md", "export/config.json"])
def test_a_new_run_writes_over_nobody_s_files(name: str, recipe_file: str) -> None:
    recipe = load_recipe(Path(recipe_file))
    file = recipe.out / name
    file.parent.mkdir(parents=True)
    (recipe.out / "report").mkdir(exist_ok=True)  # an empty folder is in nobody's way
    file.write_text("precious")
    with pytest.raises(
        UserError, match=rf"^out: .*/{name.partition('/')[0]} exists, but no config\.yaml says that a run"
    ):
        RunFolder(recipe.out).check(recipe)
    file.unlink()
    RunFolder(recipe.out).check(recipe)


def test_a_recipe_that_another_job_has_replaced_meanwhile_is_noticed_under_the_lock(recipe_file: str) -> None:
    """As by two jobs that have both looked at an empty folder before either had it."""
    ours, theirs = load_recipe(Path(recipe_file)), load_recipe(Path(recipe_file), ["learning_rate=0.5"])
    for recipe in (ours, theirs):
        RunFolder(recipe.out).check(recipe)
    RunFolder(ours.out).create(ours)
    with pytest.raises(UserError, match=r"started with learning_rate 0\.003, not 0\.5; use the same"):
        RunFolder(theirs.out).create(theirs)


@pytest.mark.parametrize(("key", "name"), [("tokenizer", "tokenizer"), ("held_out", "held-out"), ("train", "training")])
def test_another_text_of_the_same_size_is_refused_and_what_was_recorded_stays(
    key: str, name: str, recipe_file: str
) -> None:
    recipe = load_recipe(Path(recipe_file))
    folder = RunFolder(recipe.out)
    folder.create(recipe)
    values = yaml.safe_load(folder.config.read_text())
    del values["hash"]
    write_recorded(folder.config, {**values, key: "another"})
    before = folder.config.read_bytes()
    for action in (folder.check, folder.create):
        with pytest.raises(UserError, match=rf"^data: .* is not the text that the run in .* {name}"):
            action(recipe)
    assert folder.config.read_bytes() == before


def test_without_its_config_a_run_with_checkpoints_is_refused(recipe_file: str) -> None:
    recipe = load_recipe(Path(recipe_file))
    folder = RunFolder(recipe.out)
    folder.create(recipe)
    (folder.checkpoints / "step-5").mkdir()
    folder.config.unlink()
    with pytest.raises(UserError, match=r"config\.yaml: is missing, but there are checkpoints"):
        folder.check(recipe)


@pytest.mark.parametrize("without", ["", "hash"])
def test_a_changed_config_is_noticed_also_without_its_hash(without: str, recipe_file: str) -> None:
    recipe = load_recipe(Path(recipe_file))
    folder = RunFolder(recipe.out)
    folder.create(recipe)
    values = yaml.safe_load(folder.config.read_text())
    values["recipe"]["seed"] = 43
    folder.config.write_text(yaml.safe_dump({key: value for key, value in values.items() if key != without}))
    with pytest.raises(UserError, match="changed since the run wrote it"):
        folder.check(load_recipe(Path(recipe_file), ["seed=43"]))


def test_a_config_of_before_there_were_hashes_is_told_of(recipe_file: str, caplog: pytest.LogCaptureFixture) -> None:
    recipe = load_recipe(Path(recipe_file))
    folder = RunFolder(recipe.out)
    folder.path.mkdir()
    folder.config.write_text(yaml.safe_dump({"recipe": recipe.plain()}))
    folder.create(recipe)
    folder.create(recipe)
    (told,) = caplog.messages
    assert "config.yaml: an earlier version wrote it, without a hash" in told


def test_a_lock_that_is_a_link_is_not_written_through(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "lock").symlink_to("notes.txt")
    with pytest.raises(UserError, match=r"^out: cannot write to .*/lock: "):
        RunFolder(tmp_path).claim()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_what_a_killed_process_left_of_a_file_goes_when_the_folder_is_claimed(tmp_path: Path) -> None:
    left = tmp_path / "config.yaml.elsewhere-1.tmp"
    left.write_text("half")
    RunFolder(tmp_path).claim()
    assert not left.exists()


def test_a_package_that_is_not_installed_is_recorded_as_none(recipe_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = metadata.distribution

    def without_datasets(name: str) -> metadata.Distribution:
        if name == "datasets":
            raise metadata.PackageNotFoundError(name)
        return installed(name)

    monkeypatch.setattr(metadata, "distribution", without_datasets)
    recipe = load_recipe(Path(recipe_file))
    RunFolder(recipe.out).create(recipe)
    versions = read_recorded(recipe.out / "config.yaml").versions
    assert versions is not None
    assert versions["datasets"] is None
    assert versions["torch"]
    RunFolder(recipe.out).check(recipe)
