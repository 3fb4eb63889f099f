"""Exports: there whole or not at all, with a manifest that our commands check, and with the run's own tokenizer."""

import json
import os
import resource
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest
from exported_runs import content, old_run, refusal, write
from transformers import AutoModelForCausalLM

from apollo_ds.checkpoint import export_folder
from apollo_ds.checkpoint.export_manifest import DamagedExport, read_export_manifest, verify_export
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.data.corpus import Corpus
from apollo_ds.errors import UserError
from apollo_ds.finetune.pretrained import Pretrained
from apollo_ds.training import export_run as exporting
from apollo_ds.training.export_run import export_run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run with a checkpoint, beside its text, in the working directory."""
    return old_run(tmp_path, monkeypatch)


def flip(path: Path, at: int) -> None:
    damaged = bytearray(path.read_bytes())
    damaged[at // 8] ^= 1 << at % 8
    path.write_bytes(damaged)


def test_the_same_checkpoint_gives_the_same_files_and_a_manifest_of_all(run: RunFolder, tmp_path: Path) -> None:
    assert export_run(run, Path("new/model")).checkpoint == run.checkpoints / "step-8"
    card = Path("new/model/README.md").read_text()
    shutil.copytree("text", tmp_path / "elsewhere" / "text")
    write(Path("again"), run=None, text=tmp_path / "elsewhere" / "text", card=card)
    assert content(Path("new/model")) == content(Path("again"))
    manifest = verify_export(Path("again"))
    assert manifest is not None
    assert {*manifest.files, "manifest.json", "README.md"} == content(Path("again")).keys()
    assert (manifest.step, manifest.family) == (8, "gpt2")
    assert manifest.tokenizer == Corpus.open(Path("text")).tokenizer_hash
    assert [path.name for path in Path("new").iterdir()] == ["model"]
    assert type(AutoModelForCausalLM.from_pretrained("again")).__name__ == "GPT2LMHeadModel"


def test_a_link_is_followed(run: RunFolder) -> None:
    Path("disk/model").mkdir(parents=True)
    Path("model").symlink_to("disk/model")
    write(Path("model"))
    assert Path("model").is_symlink()
    verify_export(Path("disk/model"))


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """As on a full disk: files cannot grow beyond some bytes."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_everything_as_it_was(run: RunFolder) -> None:
    write(Path("model"))
    sizes = sorted(path.stat().st_size for path in Path("model").iterdir())
    for size in (1, *(size - 1 for size in sizes)):
        for folder in ("model", "new/er/model"):
            with no_file_above(size):
                told = refusal(lambda folder=folder: write(Path(folder)))
            assert f"{folder}: cannot be written: " in told, size
            assert "File too large" in told


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_killed_export_is_cleared_away_by_the_next(renames: int, run: RunFolder) -> None:
    write(Path("model"))
    sound, rename, done = content(Path("model")), Path.rename, []

    def die(path: Path, target: Path) -> Path:
        if len(done) == renames:
            os._exit(9)
        done.append(path)
        return rename(path, target)

    child = os.fork()
    if not child:
        with patch.object(Path, "rename", die), patch.object(shutil, "rmtree", lambda *_, **__: os._exit(9)):
            write(Path("model"))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert len(list(Path().glob("model*"))) > 1 or renames == 1
    assert "another run" in _told(lambda: write(Path("model"), run="other"))
    assert content(Path("model")) == sound
    assert [path.name for path in Path().glob("model*")] == ["model"]


def _told(action: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        action()
    return str(caught.value)


def test_what_a_process_still_writes_is_left_alone(run: RunFolder) -> None:
    theirs = Path(f"model.{socket.gethostname()}-{os.getppid()}.new.tmp")
    theirs.mkdir()
    write(Path("model"))
    assert theirs.is_dir()
    assert not export_folder._lives(2**22 + 1)


def test_another_tokenizer_of_the_same_size_is_refused(run: RunFolder) -> None:
    manifest = Path("text/manifest.json")
    values = json.loads(manifest.read_text())
    path = Path("text/tokenizer/tokenizer.json")
    before = path.read_bytes()
    path.write_bytes(before.replace(b'"day"', b'"dya"'))
    assert path.read_bytes() != before
    assert refusal(lambda: export_run(run, Path("model"))).startswith(f"data: {path}: missing or not these shards'")
    path.write_bytes(before)
    values["tokenizer"]["sha256"] = "0" * 64
    manifest.write_text(json.dumps(values))
    told = refusal(lambda: export_run(run, Path("model")))
    assert told.startswith("data: text/tokenizer is not the tokenizer that run was trained with; restore")


def test_text_of_a_run_from_elsewhere_is_found_where_it_was_started(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")
    told = refusal(lambda: export_run(RunFolder(Path("../run")), Path("model")))
    assert told == f"data: there is no text in {tmp_path}/other; run the command in {tmp_path}"


def test_text_that_is_gone_is_named_with_what_to_do(run: RunFolder) -> None:
    shutil.rmtree("text")
    told = refusal(lambda: export_run(run, Path("model")))
    assert told.startswith("data: text is gone, and the model's tokenizer with it; restore it, or run the command in")


def test_a_checkpoint_that_is_removed_meanwhile_is_chosen_again(run: RunFolder) -> None:
    """As by a run with keep_checkpoints=1, which trains."""
    newer, verify = run.checkpoints / "step-9", exporting.verify
    shutil.copytree(run.checkpoints / "step-8", newer)

    def prune_and_verify(checkpoint: Path, run: str | None) -> object:
        if checkpoint == newer:
            shutil.rmtree(newer)
        return verify(checkpoint, run)

    def choose_newer(folder: Path, run: str | None) -> tuple[Path, list[str]]:
        return newer if newer.exists() else folder / "step-8", []

    with patch.object(exporting, "verify", prune_and_verify), patch.object(exporting, "newest_sound", choose_newer):
        assert export_run(run, Path("model")).checkpoint == run.checkpoints / "step-8"

    def again(checkpoint: Path, run: str | None) -> object:
        shutil.move(checkpoint, "aside")
        try:
            return verify(checkpoint, run)
        finally:
            shutil.move("aside", checkpoint.with_name("moved"))

    def choose(folder: Path, run: str | None) -> tuple[Path, list[str]]:
        if (folder / "moved").exists():
            (folder / "moved").rename(folder / "step-8")
        return folder / "step-8", []

    with patch.object(exporting, "verify", again), patch.object(exporting, "newest_sound", choose):
        assert "removes its checkpoints faster than they are read" in _told(lambda: export_run(run, Path("other")))


def test_every_flipped_bit_is_named_or_changes_nothing(run: RunFolder) -> None:
    write(Path("model"))
    sound = read_export_manifest(Path("model"))
    for path in sorted(Path("model").iterdir()):
        bits = path.stat().st_size * 8
        for at in range(0, bits, 5 if path.name == "manifest.json" else bits // 5):
            flip(path, at)
            try:
                assert verify_export(Path("model")) == sound, (path, at)  # white space, or a letter's other spelling
                assert path.name == "manifest.json"
            except DamagedExport as damage:
                assert str(path) in str(damage)
            flip(path, at)
    assert verify_export(Path("model")) == sound


def test_fine_tuning_checks_an_export_before_it_reads_it(run: RunFolder, caplog: pytest.LogCaptureFixture) -> None:
    export_run(run, run.export)
    sound = Pretrained.open("run")
    (run.export / "manifest.json").rename("manifest.json")
    assert Pretrained.open("run").identity() == sound.identity()  # results of an earlier export are found
    assert "run/export: an earlier version wrote it without hashes" in caplog.text
    Path("manifest.json").rename(run.export / "manifest.json")
    flip(run.export / "model.safetensors", 80_000)
    with pytest.raises(UserError) as caught:
        Pretrained.open("run")
    fix = "remove run/export and write it again with `apollo-ds export run run/export`"
    assert str(caught.value) == f"run/export/model.safetensors: missing or damaged; {fix}"
    (run.export / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"model\.safetensors: missing or damaged"):
        Pretrained.open("run/export")


def test_no_export_is_written_among_checkpoints(run: RunFolder) -> None:
    told = refusal(lambda: export_run(run, run.checkpoints / "step-9"))
    assert told == "run/checkpoints/step-9: is among a run's checkpoints, which the run removes; name another folder"


def test_a_damaged_newer_checkpoint_is_told_of(run: RunFolder, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copytree(run.checkpoints / "step-8", run.checkpoints / "step-9")
    (run.checkpoints / "step-9" / "rank-00000.safetensors").unlink()
    export_run(run, Path("model"))
    (told,) = caplog.messages
    assert "step-9" in told
    assert told.endswith("; step-8 is exported instead")
