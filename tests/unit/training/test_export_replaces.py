"""What an export takes the place of: nothing that it was not asked to replace, and no file that somebody changed."""

import os
from pathlib import Path

import pytest
from exported_runs import content, old_run, refusal, write

from apollo_ds.__main__ import main
from apollo_ds.checkpoint.export_folder import Replaces
from apollo_ds.checkpoint.export_manifest import verify_export
from apollo_ds.config.run_folder import RunFolder
from apollo_ds.training.export_run import export_run

ASKED = Replaces.ANY_EXPORT
WAYS = "give --overwrite to replace it, or name another folder"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A run with a checkpoint, beside its text, in the working directory."""
    return old_run(tmp_path, monkeypatch)


def test_what_is_no_export_is_never_replaced(run: RunFolder) -> None:
    Path("f").write_text("mine")
    Path("full").mkdir()
    Path("full/notes").write_text("mine")
    for name in ("f", "full", "text", "run"):
        for replaces in (Replaces.SAME, ASKED):
            told = refusal(lambda name=name, replaces=replaces: write(Path(name), replaces=replaces))
            assert told.endswith(f"/{name}: exists and is not an export of apollo_ds; name another folder")
    assert "f/model: cannot be written" in refusal(lambda: write(Path("f/model")))
    Path("empty").mkdir()
    assert write(Path("empty")).is_new


def test_another_export_is_replaced_only_where_that_is_asked(run: RunFolder) -> None:
    write(Path("model"))
    sound = content(Path("model"))
    told = refusal(lambda: write(Path("model"), run="other"))
    assert told.endswith(f"model: holds an export of another run; {WAYS}")
    assert write(Path("model"), run="other", replaces=ASKED).is_new
    assert content(Path("model")) != sound
    write(Path("model"), replaces=ASKED)
    assert content(Path("model")) == sound
    Path("model/model.safetensors").write_bytes(b"damaged")
    told = refusal(lambda: write(Path("model")))
    assert told.endswith(f"model.safetensors: missing or damaged; {WAYS}")
    write(Path("model"), replaces=ASKED)
    assert content(Path("model")) == sound


def test_another_step_and_another_version_s_files_are_others(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    write(Path("model"))
    with monkeypatch.context() as patched:
        patched.setattr("apollo_ds.checkpoint.export.hash_of_values", lambda _: "of other files")
        told = refusal(lambda: write(Path("model")))
        assert told.endswith(f"model: holds step 8 of this run; {WAYS}")
    monkeypatch.setattr("apollo_ds.checkpoint.export._ROOM_FOR_A_PIPELINE", 0)
    told = refusal(lambda: write(Path("model")))
    assert told.endswith(f"model: holds this step as another version exported it; {WAYS}")
    assert write(Path("model"), replaces=ASKED).is_new


def test_the_same_export_again_is_told_of(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    main(["export", "run", "run/export"])
    assert capsys.readouterr().out == "run/checkpoints/step-8 written to run/export as a transformers model\n"
    main(["export", "run", "run/export"])
    assert capsys.readouterr().out == "run/export holds run/checkpoints/step-8 as a transformers model already\n"
    main(["export", "run", "run/export", "--license", "mit"])
    assert "written to" in capsys.readouterr().out
    assert "license: mit" in (run.export / "README.md").read_text()


def test_a_card_that_somebody_changed_stays(run: RunFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert not write(Path("model"), card="One.").keeps_card
    assert not write(Path("model"), card="Two.").keeps_card
    assert content(Path("model"))["README.md"] == b"Two."
    Path("model/README.md").write_text("Mine.")
    Path("model/notes.json").write_text("mine too")
    for _ in range(2):
        assert write(Path("model"), card="Three.", replaces=ASKED).keeps_card
    kept = content(Path("model"))
    assert (kept["README.md"], kept["notes.json"]) == (b"Mine.", b"mine too")
    assert verify_export(Path("model")), "no command reads the card"
    main(["export", "run", "run/export"])
    (run.export / "README.md").write_text("Mine.")
    main(["export", "run", "run/export", "--license", "mit"])
    told = capsys.readouterr().err
    assert told == "run/export/README.md was not written by apollo_ds, or was changed since, and stays\n"


def test_a_run_s_own_export_of_an_earlier_version_is_replaced(run: RunFolder) -> None:
    run.export.mkdir()
    (run.export / "config.json").write_text("{}")
    (run.export / "added_tokens.json").write_text("{}")
    (run.export / "README.md").write_text("A card.")
    export_run(run, run.export)
    verify_export(run.export)
    assert "added_tokens.json" not in content(run.export)
    assert content(run.export)["README.md"] == b"A card."
    export_run(run, run.export)


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_files_have_the_modes_of_any_others(mask: int, run: RunFolder) -> None:
    before = os.umask(mask)
    try:
        export_run(run, run.export)
    finally:
        os.umask(before)
    assert {path.stat().st_mode & 0o777 for path in run.export.iterdir()} == {0o666 & ~mask}
    assert run.export.stat().st_mode & 0o777 == 0o777 & ~mask
